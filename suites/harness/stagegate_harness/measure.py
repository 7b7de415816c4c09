"""Benchmarks whose rounds bring metrics of their own beside their duration."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stagegate_baselines import launch_variables
from stagegate_baselines.anonymous import anonymous
from stagegate_baselines.kinds import Kind
from stagegate_baselines.peers import ENGINE
from stagegate_baselines.records import Case, Scalar
from stagegate_baselines.telemetry import Telemetry, broken_conditions
from stagegate_harness import planted
from stagegate_harness.beside_rounds import BesideRounds
from stagegate_harness.calls import CallTimer
from stagegate_harness.cases import CASES, METRICS, PARAMS, describe, suite_of
from stagegate_harness.ceilings import Ceilings
from stagegate_harness.hot_path import headline
from stagegate_harness.metrics import as_metric, check_round, declared_by, for_information
from stagegate_harness.options import PROJECT, SETTINGS
from stagegate_harness.traced_rounds import TRACED_ROUNDS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Metrics = Mapping[str, float | int | None]
Samples = dict[str, list[float | int | None]]

# There while GPUs are sampled.
TELEMETRY = pytest.StashKey[Telemetry]()
_MEASURE = pytest.StashKey["Measure"]()

# A record need not hold more samples of a metric than its median settles with.
MOST_ROUNDS = 100

_DISABLED = "benchmarks are disabled, by --benchmark-disable or because tests run in parallel"

# The name a case's samples have in extra_info of a pytest-benchmark file.
EXTRA_INFO = "case"


class Measure:
    """Runs a round several times after a warm-up and keeps what each one reports.

    planted: share by which this case is to be slowed. Engines in this process are; a benchmark that
    starts another hands it on.
    """

    def __init__(self, benchmark: Any, item: pytest.Item) -> None:
        self._benchmark = benchmark
        self._item = item
        self.planted = planted.planted_share(os.environ.get(launch_variables.PLANT, ""), item.name)
        self._planted_clock = planted.clock_of(item.config.stash[SETTINGS].device)
        stated: Mapping[str, Scalar] = item.config.stash[PARAMS]
        self._params = dict(stated)
        self._invalid: list[str] = []
        self._beside = BesideRounds()
        self._calls_on_cpu: float | None = None  # of the last round of an operator
        self._metrics: Mapping[str, Kind] = item.config.stash[METRICS]
        self._recorded: list[Case] = []

    def __call__(
        self,
        run: Callable[[int], Metrics | None],
        *,
        prepare: Callable[[int], object] = lambda index: None,
        model_digest: str | None = None,
        workload: Mapping[str, Scalar] | DataclassInstance | None = None,
        metrics: Mapping[str, Kind] = MappingProxyType({}),
        trace: bool | Callable[[], object] = True,
    ) -> Samples:
        """Call run(round), where rounds count from 0 and the warm-up comes first as round -1.

        It returns the metrics of the round, or None: then the round is timed, as latency_us.
        prepare: called before each round, outside the measurement. model_digest: of the checkpoint
        that runs. workload: what a round is, where it is not what the options say; they still say
        how many. metrics: what names stand for that the project does not declare.
        trace: on a GPU one more round is traced when all tests are over; False where the GPU works
        for another process, which also leaves out the control on the GPU; or what to trace instead
        of a round. What a test asserts after this call makes the case invalid when it does not
        hold.

        Raises UnknownMetricError after the warm-up for a metric that is not declared.
        """
        if workload is not None:
            self._params |= _params_of(workload)
        self._metrics = declared_by(self._metrics, metrics)
        config = self._item.config
        telemetry = config.stash.get(TELEMETRY, None)
        began = 0.0
        if config.stash[SETTINGS].device != "cpu" and trace is not False:
            # Not beside another process of ours, which NVML may take for a stranger.
            self._beside.gpu_control = config.hook.pytest_stagegate_device_control(config=config)
        with planted.slower(config, self.planted) as by_the_project:
            work = run if by_the_project else planted.slowed(run, self.planted, self._planted_clock)
            self._benchmark.skipped = True  # until the first round: nothing it need warn of
            rounds = self._warm_up(work, prepare)
            if telemetry is not None:
                began = telemetry.seconds()
            self._benchmark.skipped = False
            samples = self._run_rounds(work, prepare, rounds)
        self._beside.gpu_control = None  # and with it the memory it holds
        if telemetry is not None:
            telemetry.sample()  # rounds shorter than the interval have one too
            self._invalid += broken_conditions(telemetry.samples(since=began))
        case = self._describe(samples, model_digest)
        if trace:
            config.stash[TRACED_ROUNDS].plan(
                case,
                trace if callable(trace) else lambda: run(rounds),
                prepare=lambda: prepare(rounds),
            )
        self._benchmark.extra_info[EXTRA_INFO] = case.name
        self._record(case)
        return samples

    def beside(
        self, engine: str, samples: Samples, setup: Mapping[str, Scalar] = MappingProxyType({})
    ) -> None:
        """Record what another engine gave in the rounds of the case that was just measured.

        It becomes a case of its own, which the parameter `engine` tells apart, and whose metrics
        are for information. setup: versions and settings of that engine.
        """
        [measured] = self._recorded
        name, bracket, values = measured.name.partition("[")
        metrics = (as_metric(name, values, self._metrics) for name, values in samples.items())
        self._record(
            measured.model_copy(
                update={
                    "name": f"{name}[{values[:-1]}-{engine}]" if bracket else f"{name}[{engine}]",
                    "params": {**measured.params, ENGINE: engine},
                    "metrics": tuple(map(for_information, metrics)),
                    "setup": dict(setup),
                }
            )
        )

    def _record(self, case: Case) -> None:
        self._recorded.append(case)
        self._item.config.stash[CASES].append(case)

    def _warm_up(
        self, work: Callable[[int], Metrics | None], prepare: Callable[[int], object]
    ) -> int:
        """Run round -1, twice where it is short. How many rounds are to be measured.

        Raises UnknownMetricError for a metric that is not declared.
        """
        settings = self._item.config.stash[SETTINGS]
        for _ in range(2):
            prepare(-1)
            started = time.perf_counter()
            values = _timed(work, -1)
            seconds = time.perf_counter() - started
            check_round(values, self._metrics)
            if seconds >= settings.bench_seconds:
                break  # short ones differ most from those after them
        # What else the machine does may slow all of a few short rounds.
        filling = math.ceil(min(MOST_ROUNDS, settings.bench_seconds / seconds))
        return max(settings.rounds, filling)

    def _run_rounds(
        self,
        work: Callable[[int], Metrics | None],
        prepare: Callable[[int], object],
        rounds: int,
    ) -> Samples:
        """Measure rounds 0 to `rounds` - 1, and what the host and the GPU did beside them."""
        samples: Samples = {}
        indices = itertools.count()

        def setup() -> tuple[tuple[int], dict[str, Any]]:
            index = next(indices)
            self._beside.before(lambda: prepare(index))
            return (index,), {}

        def measured(index: int) -> None:
            values = _timed(work, index)
            self._beside.after(self._calls_on_cpu)
            check_round(values, self._metrics)
            for name, value in values.items():
                samples.setdefault(name, []).append(value)

        self._benchmark.pedantic(measured, setup=setup, rounds=rounds)
        return samples

    def operator(
        self,
        call: Callable[[], object],
        ceilings: Ceilings,
        *,
        moved_bytes: int,
        flops: int,
        wait: Callable[[], object],
    ) -> Samples:
        """Time a call of one operator and state it as a share of what the machine can do.

        wait: returns when what was called has run; a GPU only queues it. moved_bytes: that must be
        read and written once at least. flops: additions and multiplications.
        """
        timer = CallTimer(
            planted.slowed(call, self.planted, self._planted_clock) if self.planted else call, wait
        )

        def once() -> None:
            call()
            wait()

        def run(_: int) -> Metrics:
            seconds, cpu_seconds = timer.seconds_per_call()
            self._calls_on_cpu = cpu_seconds / seconds
            return {
                "call_us": 1e6 * seconds,
                "gbytes_per_s": 1e-9 * moved_bytes / seconds,
                "gflops_per_s": 1e-9 * flops / seconds,
                "share_of_copy": moved_bytes / seconds / ceilings.copy_bytes_per_s,
                "share_of_matmul": flops / seconds / ceilings.flops_per_s,
            }

        samples = self(run, trace=once)
        # Rounds differ in how often they call: pytest-benchmark's own numbers are of a call, too.
        self._benchmark.stats.stats.data[:] = [1e-6 * us for us in samples["call_us"] if us]
        return samples

    def invalid(self, reason: str) -> None:
        """Say inside a round that the numbers of this case must not be used, whatever they are."""
        self._invalid.append(reason)

    def fail(self, reason: str) -> None:
        """The test did not pass: what it recorded, if anything, must not be used."""
        self._benchmark.skipped = True  # a failure before the first round is one failure
        cases = self._item.config.stash[CASES]
        self._invalid.append(reason)
        invalid = tuple(dict.fromkeys(map(anonymous, self._invalid)))
        recorded, self._recorded = self._recorded or [self._describe({}, None)], []
        for case in recorded:
            if case in cases:
                cases.remove(case)
            self._record(case.model_copy(update={"invalid": invalid}))

    def _describe(self, samples: Samples, model_digest: str | None) -> Case:
        return describe(
            self._item,
            samples,
            params=self._params,
            metrics=self._metrics,
            model_digest=model_digest,
            on_cpu=self._beside.on_cpu,
            beside=self._beside.fields(),
            invalid=self._invalid,
        )


def _timed(work: Callable[[int], Metrics | None], index: int) -> Metrics:
    """The metrics of a round; its time where it has none of its own."""
    started = time.perf_counter()
    values = work(index)
    seconds = time.perf_counter() - started
    return {"latency_us": 1e6 * seconds} if values is None else values


def _params_of(workload: Mapping[str, Scalar] | DataclassInstance) -> dict[str, Scalar]:
    """How often a round is repeated does not change its work."""
    stated = dict(workload) if isinstance(workload, Mapping) else asdict(workload)
    stated.pop("rounds", None)
    return stated


def why_unmeasured(item: pytest.Item) -> str | None:
    """Why a benchmark of this run is not measured, and so proves nothing; None where it is."""
    session = getattr(item.config, "_benchmarksession", None)
    fixtures = getattr(item, "fixturenames", ())
    if session is None or "benchmark" not in fixtures:
        return None
    if session.skip:
        return "left out by --benchmark-skip"
    if session.disabled and "measure" in fixtures:
        return _DISABLED
    return None


def check_measurable(item: pytest.Item) -> None:
    """Skip a test that measures where pytest-benchmark is told not to, as beside other workers, and
    fail one that no record has a place for.

    A single round without a clock, which is what other benchmarks get there, would let such a test
    judge speed, and prove criteria, by nothing. Before its fixtures are made: pytest-benchmark
    objects to one of its own that is not used.
    """
    if "measure" not in getattr(item, "fixturenames", ()):
        return
    if why_unmeasured(item) == _DISABLED:
        pytest.skip(_DISABLED)
    if suite_of(item) is None:
        pytest.fail(
            f"{item.nodeid} uses `measure` and lies outside {item.config.stash[PROJECT].suites}, "
            "the folder that a record names cases by: move it there",
            pytrace=False,
        )


@pytest.fixture
def measure(benchmark: Any, request: pytest.FixtureRequest) -> Measure:
    """A Measure named after the test."""
    measure = Measure(benchmark, request.node)
    request.node.stash[_MEASURE] = measure
    return measure


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around pytest-benchmark's
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A benchmark that fails is in the record all the same, as one whose numbers must not be used.

    A gate would otherwise not see it.
    """
    report = yield
    measure = item.stash.get(_MEASURE, None)
    if report.failed and measure is not None and call.excinfo is not None:
        measure.fail(f"the test failed: {call.excinfo.exconly().splitlines()[0]}")
    return report


def write_metrics(terminal: pytest.TerminalReporter, cases: list[Case]) -> None:
    """Median and range over the rounds of every metric of every case."""
    for case in cases:
        rounds = max((len(metric.samples) for metric in case.metrics), default=0)
        terminal.write_line(f"{case.name} ({rounds} rounds)")
        for metric in case.metrics:
            values = [sample for sample in metric.samples if sample is not None]
            if values:
                spread = f"[{min(values):.4f}, {max(values):.4f}]"
                unit = "" if metric.unit == "1" else metric.unit
                median = float(np.median(values))
                terminal.write_line(f"  {metric.name:22} {median:14.4f} {unit:6} {spread}")
        if case.hot_path is not None:
            terminal.write_line(f"  {headline(case.hot_path)}")
        for reason in case.invalid:
            terminal.write_line(f"  invalid: {reason}", red=True)
