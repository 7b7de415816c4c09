"""The hooks; what they decide is in the modules beside this one."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from suites.harness import axes, options, requirements
from suites.harness.criteria import (
    PROPERTY,
    EvidenceCollector,
    criteria_of,
    noted_criteria,
    write_table,
)
from suites.harness.fixtures import (  # noqa: F401 - pytest finds fixtures by name in a plugin
    attention,
    backend,
    ceilings,
    device,
    layout,
    model_path,
    multilingual_model,
    num_threads,
    pictures,
    run_log,
    soak_seconds,
    workload,
)
from suites.harness.measure import (
    CASES,
    measure,  # noqa: F401 - a fixture
    pytest_runtest_makereport,  # noqa: F401 - a hook
    skip_unmeasured,
    write_metrics,
)
from suites.harness.recorder import Recorder
from suites.harness.stages import find_stage, load_stages
from suites.harness.traced_rounds import TRACED_ROUNDS, TracedRounds

# A number; the tests then run in an order drawn from it. A gate gives each pair of launches
# another, so that no case always follows the same one.
ORDER_VARIABLE = "STAGEGATE_CASE_ORDER"

MARKERS = (
    "criterion(*ids): this test is evidence for criteria of stages.toml",
    "requires_gpu: needs a CUDA build and a GPU",
    "requires_cupti: traces the kernels of a GPU",
    "requires_flashinfer: needs a GPU and a build with FlashInfer",
    "requires_hf: runs Hugging Face transformers",
    "tiny_model: about the checkpoint in the repository alone; left out with any other",
    "parity: compares the engine with Hugging Face transformers",
    "unsanitized: left out under compute-sanitizer, where it would take many minutes",
    *(f"{name}: {why}" for name, why in axes.OPT_IN.items()),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As a shell's background job inherits it; the programs that tests interrupt would too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    try:
        config.stash[options.SETTINGS] = options.read_settings(config)
    except pytest.UsageError:
        _discard_empty_record(config)
        raise
    config.stash[CASES] = []
    config.stash[TRACED_ROUNDS] = TracedRounds(config, config.stash[CASES])
    run = StageRun(config)
    config.pluginmanager.register(run, "stagegate-stage-run")
    config.pluginmanager.register(config.stash[TRACED_ROUNDS], "stagegate-traced-rounds")
    config.pluginmanager.register(Recorder(config, run.stage, run.collector), "stagegate-recorder")


class StageRun:
    """One pytest run: selects its tests and gathers what they prove."""

    def __init__(self, config: pytest.Config) -> None:
        self.settings = config.stash[options.SETTINGS]
        stages = load_stages(config.rootpath)
        self.stage = find_stage(stages, self.settings.stage)
        self.stage_of = {name: stage for stage in stages.values() for name in stage.criteria}
        self.collector = EvidenceCollector()
        self.num_run = 0
        self.num_of_tiny_model = 0

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        if self.stage is None or self.stage.covers(collection_path, config.rootpath):
            return None
        return True

    # After the selections by keyword and marker, so that what those drop is not counted here.
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        selected, deselected = [], []
        for item in items:
            of_another_model = axes.is_of_another_model(item, self.settings)
            self.num_of_tiny_model += of_another_model
            # Skipped one by one they would fill the record with tests nobody asked for.
            no_benchmark = config.getoption("benchmark_only", False) and not _is_benchmark(item)
            if of_another_model or no_benchmark:
                deselected.append(item)
                continue
            criteria = self._criteria_of(item)
            why = axes.why_opted_out(item, config.option.markexpr)
            if why is not None:
                self.collector.add_left_out(criteria, item.nodeid, why)
                deselected.append(item)
                continue
            if axes.is_cut_short(item, self.settings):
                self.collector.add_left_out(criteria, item.nodeid)
                criteria = []
            if axes.is_selected(item, self.settings):
                item.user_properties.extend((PROPERTY, criterion) for criterion in criteria)
                selected.append(item)
            else:
                if axes.is_narrowed(item, self.settings):
                    self.collector.add_left_out(criteria, item.nodeid)
                deselected.append(item)
        if self.settings.cases_per_test is not None:
            chosen = axes.cover(selected, self.settings.cases_per_test)
            for item in selected:
                if item not in chosen:
                    self.collector.add_left_out(noted_criteria(item), item.nodeid)
                    deselected.append(item)
            selected = [item for item in selected if item in chosen]
        if deselected:
            config.hook.pytest_deselected(items=deselected)
            items[:] = selected
        if ORDER_VARIABLE in os.environ:
            random.Random(os.environ[ORDER_VARIABLE]).shuffle(items)
        # Nothing is timed in a process that has been traced.
        items.sort(key=lambda item: item.get_closest_marker("requires_cupti") is not None)

    def _criteria_of(self, item: pytest.Item) -> list[str]:
        criteria = criteria_of(item, self.stage_of)
        # What may run alone proves what its marks say: it does not stand for its suite.
        if self.stage is not None and not _is_benchmark(item) and not axes.is_opt_in(item):
            criteria += self.stage.criteria_of_place(item, item.config.rootpath)
        return criteria

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        requirements.check(item, self.settings)
        skip_unmeasured(item)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or (report.passed and report.when == "call"):
            self.num_run += 1
        self.collector.add_report(report)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        # pytest is content when every test was skipped; a gate must not be.
        if session.config.option.collectonly:
            return
        if exitstatus == pytest.ExitCode.OK and self.num_run == 0:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        if config.stash[CASES]:
            terminalreporter.section("metrics: median over the rounds, [least, most]")
            write_metrics(terminalreporter, config.stash[CASES])
        traced = config.stash[TRACED_ROUNDS]
        if traced.untraced is not None:
            terminalreporter.write_line(
                f"no hot path of the benchmarks: {traced.untraced}", yellow=True
            )
        for case, error in traced.errors.items():
            terminalreporter.write_line(f"the traced round of {case}: {error}", red=True)
        if self.num_of_tiny_model:
            terminalreporter.write_line(f"{self.num_of_tiny_model} deselected: tiny model only")
        if config.getoption("benchmark_json", None):
            terminalreporter.write_line(f"record: {config.option.benchmark_json.name}")
        if self.stage is not None:
            write_table(terminalreporter, self.stage, self.collector)


def _discard_empty_record(config: pytest.Config) -> None:
    """pytest-benchmark opens the file of --benchmark-json before any option has been checked."""
    record = config.getoption("benchmark_json", None)
    if record is not None and Path(record.name).stat().st_size == 0:
        Path(record.name).unlink()


def _is_benchmark(item: pytest.Item) -> bool:
    return "benchmark" in getattr(item, "fixturenames", ())
