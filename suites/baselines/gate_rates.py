"""How often the gate is right: synthetic launches, through the driver of the real ones.

    python -m suites.baselines.gate_rates [--gates 1000] [--models "busy host" ...]

Prints the table of docs/gate.md.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter

import numpy as np

from stagegate_baselines.gate.escalation import Gate, Side
from stagegate_baselines.gate.noise import launch_noise
from stagegate_baselines.states import Verdict
from suites.baselines.launch_models import MODELS, SyntheticSource

SLOWDOWNS = (0.0, 0.03, 0.05, 0.10)
COLUMNS = (Verdict.REGRESSED, Verdict.INCONCLUSIVE, Verdict.UNCHANGED, Verdict.IMPROVED)


def rates(
    model: str, slowdown: float, gates: int, seed: int, *, stored: bool = False
) -> tuple[Counter[Verdict], float]:
    """Verdicts of so many gates, and the mean number of launches one took.

    stored: against five launches in the store, whose spread is known; else in pairs.
    """
    rng = np.random.default_rng(seed)
    verdicts: Counter[Verdict] = Counter()
    launches = 0
    for _ in range(gates):
        source = SyntheticSource(MODELS[model], float(np.log1p(slowdown)), rng)
        base = [source.launch(Side.BASE, number) for number in range(5 if stored else 0)]
        gate = Gate(source, stored=base, noise=launch_noise([base]))
        [judgement] = gate.run().judgements
        verdicts[judgement.verdict] += 1
        launches += source.launches
    return verdicts, launches / gates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gates", type=int, default=1000, help="a row; default: 1000")
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL"
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    names = " | ".join(verdict.value for verdict in COLUMNS)
    print(f"| launches | base | slower by | {names} | launches taken |")
    print("|---|---|---|---|---|---|---|---|")
    for model, stored, slowdown in itertools.product(arguments.models, (False, True), SLOWDOWNS):
        verdicts, launches = rates(model, slowdown, arguments.gates, arguments.seed, stored=stored)
        shares = " | ".join(f"{100 * verdicts[item] / arguments.gates:.1f} %" for item in COLUMNS)
        base = "stored" if stored else "paired"
        print(
            f"| {model} | {base} | {100 * slowdown:.0f} % | {shares} | {launches:.1f} |", flush=True
        )


if __name__ == "__main__":
    main()
