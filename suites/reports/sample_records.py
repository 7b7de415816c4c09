"""Records like those of real runs, from a seed: stages in every state, every kind of verdict."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baselines.fingerprint import digest
from baselines.records import (
    Better,
    Case,
    Environment,
    Evidence,
    Gpu,
    Machine,
    Metric,
    MetricClass,
    Record,
    TelemetrySample,
    TestOutcome,
)
from baselines.verdict import Launch, judge
from reports.files import load_plans
from reports.measured import Verdicts
from reports.model import AcceptedVersion, CaseVerdict, StagePlan

PLANS = load_plans(Path(__file__).parents[1] / "stages.toml")
LAUNCHES = 3
ROUNDS = 5

# A change of the true speed by case number, as a share that is worse.
CHANGES = {1: 0.12, 4: -0.15, 9: 0.05}

MACHINE = Machine(
    cpu="AMD EPYC 9454 48-Core Processor",
    physical_cores=48,
    logical_cores=96,
    memory_bytes=384 * 2**30,
    gpus=(
        Gpu(
            name="NVIDIA H200",
            memory_bytes=141 * 2**30,
            driver="580.65.06",
            power_limit_w=700.0,
            max_sm_clock_mhz=1980,
            max_memory_clock_mhz=3201,
            ecc=True,
            mig=False,
        ),
    ),
)


@dataclass(frozen=True)
class Sample:
    """Arguments of reports.assemble.assemble."""

    plans: tuple[StagePlan, ...]
    records: tuple[Record, ...]
    history: Mapping[str, Sequence[AcceptedVersion]]
    verdicts: Mapping[str, Verdicts]


def sample(*, cases: int = 16, versions: int = 6, seed: int = 0) -> Sample:
    """cases: over all stages; stage4 and later have run only when there are more than 100."""
    rng = random.Random(seed)
    ran = PLANS if cases > 100 else PLANS[:4]
    share = -(-cases // len(ran))
    records: list[Record] = []
    history: dict[str, list[AcceptedVersion]] = {}
    verdicts: dict[str, Verdicts] = {}
    for number, plan in enumerate(ran):
        count = min(share, cases - number * share)
        past = [
            AcceptedVersion(
                f"{version:04}_{'import' if version == 1 else 'nightly'}",
                tuple(
                    _record(rng, plan, count, number, version=version, launch=launch)
                    for launch in range(1, LAUNCHES + 1 if version == versions else 2)
                ),
            )
            for version in range(1, versions + 1)
        ]
        now = [
            _record(rng, plan, count, number, version=None, launch=launch)
            for launch in range(1, LAUNCHES + 1)
        ]
        records += now
        history[plan.name] = past
        verdicts[plan.name] = _verdicts(past[-1].launches, now)
    return Sample(PLANS, tuple(records), history, verdicts)


def _verdicts(base: Sequence[Record], new: Sequence[Record]) -> Verdicts:
    sides = [
        {
            case.name: [
                Launch(record.machine_key, other)
                for record in side
                for other in record.cases
                if other.name == case.name
            ]
            for case in side[0].cases
        }
        for side in (base, new)
    ]
    return {
        (name, metric.name): CaseVerdict.of(
            judge(sides[0].get(name, []), launches, metric.name, paired=False)
        )
        for name, launches in sides[1].items()
        for metric in launches[0].case.metrics
        if metric.metric_class is not MetricClass.INFO
    }


def _record(
    rng: random.Random,
    plan: StagePlan,
    cases: int,
    number: int,
    *,
    version: int | None,
    launch: int,
) -> Record:
    """version: None for now."""
    environment = _environment(version)
    day = 1 + (version or 0) % 28
    month = 11 if version is None else 1 + (version or 0) // 28
    return Record(
        schema_version=1,
        created=f"2026-{month:02}-{20 if version is None else day:02}T0{number % 10}:1{launch}:00Z",
        stage=plan.name,
        machine_key=digest(MACHINE),
        environment_key=digest(environment),
        machine=MACHINE,
        environment=environment,
        cases=tuple(_case(rng, index, version) for index in range(cases) if version or index >= 0),
        evidence=_evidence(rng, plan, number),
        telemetry=_telemetry(rng) if version is None else (),
        launch=launch,
    )


def _environment(version: int | None) -> Environment:
    return Environment(
        python="3.12.4" if version is None else "3.11.9",
        compiler="GNU 13.3.0",
        build_type="Release",
        cuda="13.0",
        onednn="3.9.1",
        packages={"numpy": "2.3.4" if version is None else "2.2.6", "pytest": "8.4.2"},
        variables={"OMP_NUM_THREADS": "8"} if version is None else {},
        num_threads=8,
        git_revision=digest({"version": version}) + "0" * 24,
        git_dirty=False,
    )


def _case(rng: random.Random, index: int, version: int | None) -> Case:
    if index % 6 == 5:
        return _peer_case(rng, index)
    group, layout = divmod(index, 2)
    params = {
        "layout": ("block", "slot")[layout],
        "backend": ("native", "csr")[layout],
        "dtype": ("f32", "bf16", "f16")[group % 3],
        "batch": 2 ** (group % 7),
        "input_len": 128 * (1 + group // 21),
        "seed": 0,
    }
    # The first versions measured other work; the newest case has no past.
    work = {"index": index, "code": 1 if version is not None and version <= 2 else 2}
    drift = 1.0 if version is None else 1 - 0.004 * max(0, 30 - version)
    noise = 0.05 if index == 9 else 0.006
    worse = CHANGES.get(index, 0.0) if version is None else 0.0
    speed = 400 * 1.31**group if group < 20 else 900 + 10 * group
    speed *= drift * (0.82 if layout else 1.0) * (1 - worse) * rng.gauss(1, noise)
    rates = [speed * rng.gauss(1, 0.006) for _ in range(ROUNDS)]
    tokens = 32 * 16.0
    return Case(
        name=f"test_kv_layout[{'-'.join(str(value) for value in params.values())}]",
        suite="offline",
        params=dict(params),
        workload_hash=digest(work),
        model_digest=digest("tiny"),
        metrics=(
            _metric("completion_tokens", "1", Better.HIGHER, MetricClass.INFO, [tokens] * ROUNDS),
            _metric("tokens_per_sec", "tok/s", Better.HIGHER, MetricClass.THROUGHPUT, rates),
            _metric(
                "avg_req_latency_ms", "ms", Better.LOWER, MetricClass.LATENCY_P50,
                [1e6 / rate * rng.gauss(1, 0.01) for rate in rates],
            ),
            _metric(
                "avg_ttft_ms", "ms", Better.LOWER, MetricClass.LATENCY_P50,
                [4e4 / rate * rng.gauss(1, 0.012) for rate in rates],
            ),
            _metric(
                "prefix_hits", "1", Better.HIGHER, MetricClass.INFO,
                [None if layout else 96.0] * ROUNDS,
            ),
        ),
        invalid=("round 3: wrong tokens",) if version is None and index == 13 else (),
    )  # fmt: skip


def _peer_case(rng: random.Random, index: int) -> Case:
    ours = [420 * rng.gauss(1, 0.01) for _ in range(ROUNDS)]
    theirs = [260 * rng.gauss(1, 0.03) for _ in range(ROUNDS)]
    return Case(
        name=f"test_decode[{index}]",
        suite="offline",
        params={"batch": index},
        workload_hash=digest({"peer": index}),
        model_digest=digest("random"),
        metrics=(
            _metric("stagegate_tok_s", "tok/s", Better.HIGHER, MetricClass.THROUGHPUT, ours),
            _metric("transformers_tok_s", "tok/s", Better.HIGHER, MetricClass.INFO, theirs),
            _metric(
                "ratio", "1", Better.HIGHER, MetricClass.INFO,
                [a / b for a, b in zip(ours, theirs, strict=True)],
            ),
        ),
    )  # fmt: skip


def _metric(
    name: str, unit: str, better: Better, kind: MetricClass, samples: Sequence[float | None]
) -> Metric:
    return Metric(name=name, unit=unit, better=better, metric_class=kind, samples=tuple(samples))


def _evidence(rng: random.Random, plan: StagePlan, number: int) -> tuple[Evidence, ...]:
    """Stages 0, 3, 6 pass, 1 and 4 fail, 2, 5 and 7 lack a proof."""
    fate = number % 3
    evidence = []
    for place, (criterion, sentence) in enumerate(plan.criteria):
        last = place == len(plan.criteria) - 1
        tests = [
            TestOutcome(
                test=f"suites/{suite}/test_{criterion.replace('.', '_').replace('-', '_')}.py::"
                f"test_agrees[{dtype}-{layout}]",
                outcome="passed",
                seconds=round(rng.uniform(0.001, 2.5), 4),
            )
            for suite, dtype, layout in itertools.product(
                ("core", "engine"), ("f32", "bf16"), ("block", "slot")
            )
        ]
        state = "proved"
        if last and fate == 1:
            state = "failed"
            tests[0] = tests[0].model_copy(
                update={"outcome": "failed", "reason": "AssertionError: 0.0312 > tolerance 0.0078"}
            )
        elif last and fate == 2:
            state = "unproved"
            tests = [
                test.model_copy(update={"outcome": "skipped", "reason": "no NVIDIA GPU"})
                for test in tests
            ]
        evidence.append(
            Evidence(criterion=criterion, sentence=sentence, state=state, tests=tuple(tests))
        )
    return tuple(evidence)


def _telemetry(rng: random.Random) -> tuple[TelemetrySample, ...]:
    return tuple(
        TelemetrySample(
            seconds=float(second),
            gpu=0,
            sm_clock_mhz=1980 if second < 40 else 1755,
            memory_clock_mhz=3201,
            power_w=round(420 + 60 * rng.random(), 1),
            temperature_c=44 + second // 4,
            memory_used_bytes=(9 + second // 6) * 2**30,
            throttle_reasons=() if second < 40 else ("sw-power-cap",),
            other_processes=0,
        )
        for second in range(0, 60, 2)
    )
