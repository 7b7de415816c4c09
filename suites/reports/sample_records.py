"""Records like those of real runs, from a seed: stages in every state, every kind of verdict."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from stagegate_baselines.fingerprint import digest
from stagegate_baselines.gate.conditions import Launch
from stagegate_baselines.gate.findings import Finding
from stagegate_baselines.gate.statistics import adjusted
from stagegate_baselines.gate.verdict import Comparison, judge
from stagegate_baselines.records import (
    SCHEMA_VERSION,
    Case,
    CopyTime,
    Environment,
    Evidence,
    Gpu,
    HotPath,
    KernelTime,
    Machine,
    MetricClass,
    Record,
    TelemetrySample,
    TestOutcome,
)
from stagegate_baselines.states import CriterionState
from stagegate_harness import metrics
from stagegate_reports.files import load_plans
from stagegate_reports.model import AcceptedVersion, GateRun, StagePlan
from suites.adapter.metrics import KINDS

as_metric = partial(metrics.as_metric, declared=KINDS)
PLANS = load_plans(Path(__file__).parents[1] / "stages.toml")
LAUNCHES = 3
ROUNDS = 5

# A change of the true speed by case number, as a share that is worse.
CHANGES = {1: 0.12, 4: -0.15}

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
    """Arguments of stagegate_reports.assemble.assemble."""

    plans: tuple[StagePlan, ...]
    records: tuple[Record, ...]
    history: Mapping[str, Sequence[AcceptedVersion]]
    gates: tuple[GateRun, ...]


def sample(*, cases: int = 24, versions: int = 6, seed: int = 0) -> Sample:
    """cases: over all stages; stage4 and later have run only when there are more than 100."""
    rng = random.Random(seed)
    ran = PLANS if cases > 100 else PLANS[:4]
    share = -(-cases // len(ran))
    records: list[Record] = []
    history: dict[str, list[AcceptedVersion]] = {}
    gates: list[GateRun] = []
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
        gates.append(
            GateRun(plan.name, past[-1].label, (), tuple(now), _found(past[-1].launches, now))
        )
    return Sample(PLANS, tuple(records), history, tuple(gates))


def _found(base: Sequence[Record], new: Sequence[Record]) -> Mapping[tuple[str, str], Finding]:
    before, after = _launches(base), _launches(new)
    judgements = [
        judge(before.get(name, []), launches, metric.name, comparison=Comparison.STORED)
        for name, launches in after.items()
        for metric in launches[0].case.metrics
        if metric.metric_class is not MetricClass.INFO
    ]
    known = [item.p for item in judgements if item.p is not None]
    family = iter(adjusted(known))
    return {
        (item.case, item.metric): Finding.of(
            replace(item, adjusted_p=None if item.p is None else next(family))
        )
        for item in judgements
    }


def _launches(records: Sequence[Record]) -> dict[str, list[Launch]]:
    found: dict[str, list[Launch]] = {}
    for record in records:
        for case in record.cases:
            found.setdefault(case.name, []).append(
                Launch(record.machine_key, record.machine.kind, case)
            )
    return found


def _record(
    rng: random.Random,
    plan: StagePlan,
    cases: int,
    number: int,
    *,
    version: int | None,
    launch: int,
) -> Record:
    """version: of the accepted ones, by number; None is what the report is about."""
    environment = _environment(version)
    day = 1 + (version or 0) % 28
    month = 11 if version is None else 1 + (version or 0) // 28
    return Record(
        schema_version=SCHEMA_VERSION,
        created=f"2026-{month:02}-{20 if version is None else day:02}T0{number % 10}:1{launch}:00Z",
        stage=plan.name,
        machine_key=digest(MACHINE),
        environment_key=digest(environment),
        machine=MACHINE,
        environment=environment,
        # The last case is new: no version knows it.
        cases=tuple(
            case for index in range(cases - bool(version)) for case in _cases(rng, index, version)
        ),
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


def _cases(rng: random.Random, index: int, version: int | None) -> list[Case]:
    """One in six has another engine beside it, in the same rounds."""
    return _peer_cases(rng, index) if index % 6 == 5 else [_case(rng, index, version)]


def _case(rng: random.Random, index: int, version: int | None) -> Case:
    group, kv_layout = divmod(index, 2)
    params = {
        "kv_layout": ("block", "slot")[kv_layout],
        "attention_backend": ("native", "csr")[kv_layout],
        "dtype": ("f32", "bf16", "f16")[group % 3],
        "batch": 2 ** (group % 7),
        "input_len": 128 * (1 + group // 21),
        "seed": 0,
    }
    # The first versions measured other work.
    work = {"index": index, "code": 1 if version is not None and version <= 2 else 2}
    drift = 1.0 if version is None else 1 - 0.05 / version
    noise = 0.04 if index == 2 else 0.004
    worse = CHANGES.get(index, 0.0) if version is None else 0.0
    speed = 400 * 1.31**group if group < 20 else 900 + 10 * group
    speed *= drift * (0.82 if kv_layout else 1.0) * (1 - worse) * rng.gauss(1, noise)
    rates = [speed * rng.gauss(1, 0.006) for _ in range(ROUNDS)]
    tokens = 32 * 16
    return Case(
        name=f"test_kv_layout[{'-'.join(str(value) for value in params.values())}]",
        suite="offline",
        params=dict(params),
        workload_hash=digest(work),
        model_digest=digest("tiny"),
        metrics=(
            as_metric("requests", [16] * ROUNDS),
            as_metric("prompt_tokens", [2048] * ROUNDS),
            as_metric("completion_tokens", [tokens] * ROUNDS),
            as_metric("seconds", [tokens / rate for rate in rates]),
            as_metric("tokens_per_sec", rates),
            as_metric("avg_req_latency_ms", [1e6 / rate * rng.gauss(1, 0.01) for rate in rates]),
            as_metric("avg_ttft_ms", [4e4 / rate * rng.gauss(1, 0.012) for rate in rates]),
            as_metric("avg_tpot_ms", [9e5 / rate * rng.gauss(1, 0.01) for rate in rates]),
            as_metric("prefix_hits", [None if kv_layout else 96] * ROUNDS),
            as_metric("prefix_misses", [None if kv_layout else 32] * ROUNDS),
            as_metric("prefix_saved_tokens", [None if kv_layout else 1536] * ROUNDS),
        ),
        invalid=("round 3: wrong tokens",) if version is None and index == 3 else (),
        hot_path=_hot_path(tokens) if version is None and index % 4 == 0 else None,
    )  # fmt: skip


def _hot_path(steps: int) -> HotPath:
    """Of a model of 28 layers; 12 kernels, so that a short table leaves some out."""
    layers = 28
    kernels = [
        ("nvjet_hsh_64x8_64x16_4x1_v_bz_TNT", 4 * layers, 6.25),
        ("attention_kernel", layers, 3.5),
        ("nvjet_hss_128x8_64x12_2x1_v_bz_TNT", 1, 41.0),
        ("rms_norm_kernel", 2 * layers + 1, 1.75),
        ("add_kernel", 2 * layers, 1.5),
        ("fold_kernel", layers, 2.0),
        ("swiglu_kernel", layers, 1.625),
        ("rope_kernel", layers, 1.5),
        ("kv_write_kernel", layers, 1.25),
        ("find_buckets", 1, 9.5),
        ("reduce_parts", 1, 7.0),
        ("embedding_kernel", 2, 1.5),
    ]
    times = [
        KernelTime(name=name, calls=steps * calls, total_us=steps * calls * mean)
        for name, calls, mean in kernels
    ]
    copies = [
        CopyTime(direction="device to host", count=2 * steps, size_bytes=384 * steps,
                 total_us=2.75 * steps),
        CopyTime(direction="host to device", count=steps, size_bytes=8192 * steps,
                 total_us=1.5 * steps),
    ]  # fmt: skip
    busy_us = sum(item.total_us for item in times) + 4.25 * steps
    return HotPath(
        wall_us=1.25 * busy_us,
        busy_us=busy_us,
        kernels=tuple(sorted(times, key=lambda item: -item.total_us)),
        copies=tuple(copies),
    )


def _peer_cases(rng: random.Random, index: int) -> list[Case]:
    """A case of the engine, and of another one in the same rounds."""
    rates = {"stagegate": (420, 0.01), "transformers": (260, 0.03)}
    return [
        Case(
            name=f"test_decode[{index}-{engine}]",
            suite="offline",
            params={"batch": index, "engine": engine},
            workload_hash=digest({"peer": index}),
            model_digest=digest("random"),
            metrics=tuple(
                metric if engine == "stagegate" else metrics.for_information(metric)
                for metric in (
                    as_metric(
                        "tokens_per_sec", [rate * rng.gauss(1, noise) for _ in range(ROUNDS)]
                    ),
                    as_metric("share_of_read", [rate / 800] * ROUNDS),
                )
            ),
            setup={"version": "1.2.3"},
        )
        for engine, (rate, noise) in rates.items()
    ]


def _evidence(rng: random.Random, plan: StagePlan, number: int) -> tuple[Evidence, ...]:
    """Stages 0, 3, 6 pass, 1 and 4 fail, 2, 5 and 7 lack a proof."""
    fate = number % 3
    evidence = []
    for place, (criterion, sentence) in enumerate(plan.criteria):
        last = place == len(plan.criteria) - 1
        tests = [
            TestOutcome(
                test=f"suites/{suite}/test_{criterion.replace('.', '_').replace('-', '_')}.py::"
                f"test_agrees[{dtype}-{kv_layout}]",
                outcome="passed",
                seconds=round(rng.uniform(0.001, 2.5), 4),
            )
            for suite, dtype, kv_layout in itertools.product(
                ("core", "engine"), ("f32", "bf16"), ("block", "slot")
            )
        ]
        state = CriterionState.PROVED
        if last and fate == 1:
            state = CriterionState.FAILED
            tests[0] = tests[0].model_copy(
                update={"outcome": "failed", "reason": "AssertionError: 0.0312 > tolerance 0.0078"}
            )
        elif last and fate == 2:
            state = CriterionState.UNPROVED
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
