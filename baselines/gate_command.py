"""python -m baselines gate: this tree against another revision, both built and run here."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from baselines.fingerprint import digest
from baselines.gate import STEPS, Gate, Side
from baselines.launches import LaunchError, PytestSource, build, check_out, state_of
from baselines.summary import EXPLANATIONS, markdown_table, text_table, write_json

ROOT = Path(__file__).parents[1]
OUT = ROOT / "reports" / "out" / "gate"


def add_gate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", help="stage0 to stage7")
    parser.add_argument(
        "--against",
        required=True,
        metavar="REV",
        help="revision to compare with; 'self' runs this tree on both sides, as a null control",
    )
    parser.add_argument("--launches", type=_pairs, help="pairs to take; default: 3, then 5, then 8")
    parser.add_argument(
        "--time-budget", type=float, metavar="S", help="begin no pair after S seconds"
    )
    parser.add_argument("--explain", action="store_true", help="say what each verdict means")
    parser.epilog = "What follows -- goes to pytest."


def run_gate(arguments: argparse.Namespace, pytest_arguments: Sequence[str]) -> int:
    """Exit status: 0 passed, 1 regressed, invalid or not run, 3 inconclusive, 4 not comparable."""
    try:
        base = ROOT if arguments.against == "self" else check_out(ROOT, arguments.against, OUT)
        for tree in dict.fromkeys((base, ROOT)):
            print(f"building {tree}", file=sys.stderr)
            build(tree)
        state = digest([arguments.stage, list(pytest_arguments), state_of(base), state_of(ROOT)])
        folder = OUT / f"{arguments.stage}-{state}"
        source = PytestSource(
            {Side.BASE: base, Side.NEW: ROOT},
            stage=arguments.stage,
            arguments=pytest_arguments,
            folder=folder,
        )
        result = Gate(
            source,
            steps=STEPS if arguments.launches is None else (arguments.launches,),
            time_budget_s=arguments.time_budget,
            progress=_report_progress,
        ).run()
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text_table(result.judgements))
    if arguments.explain:
        for reason in dict.fromkeys(judgement.reason for judgement in result.judgements):
            print(f"{reason.value}: {EXPLANATIONS[reason]}")
    write_json(folder / "verdict.json", result)
    print(f"{result.pairs} pairs; {folder / 'verdict.json'}")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown_table(result.judgements) + "\n")
    return result.exit_code


def _report_progress(pair: int, seconds: float) -> None:
    left = f", {seconds / pair:.0f} s each so far" if pair else ""
    print(f"pair {pair + 1} begins after {seconds:.0f} s{left}", file=sys.stderr)


def _pairs(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        msg = f"{text!r} is not a number of pairs; an interval needs two or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)
