"""One pytest run: selects its tests and gathers what they prove."""

from __future__ import annotations

import os
import random
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from stagegate_baselines import launch_variables
from stagegate_baselines.anonymous import anonymous
from stagegate_harness import axes
from stagegate_harness.cases import CASES
from stagegate_harness.criteria import (
    PROPERTY,
    EvidenceCollector,
    criteria_of,
    noted_criteria,
    write_table,
)
from stagegate_harness.measure import check_measurable, why_unmeasured, write_metrics
from stagegate_harness.options import PROJECT, SETTINGS, record_path
from stagegate_harness.selection import Selection, selecting_options
from stagegate_harness.stages import find_stage, load_stages
from stagegate_harness.traced_rounds import TRACED_ROUNDS

# What a worker of pytest-xdist tells the process that started it.
_WORKER_OUTPUT = "stagegate_members"


class StageRun:
    """The hooks of a run.

    With a stage the whole of it is collected. `selection` is None without one, and where a
    run of benchmarks names paths: it is quick that way, and does not know its criteria's tests.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.settings = config.stash[SETTINGS]
        stages = load_stages(config.stash[PROJECT])
        self.stage = find_stage(stages, self.settings.stage)
        self.stage_of = {name: stage for stage in stages.values() for name in stage.criteria}
        self.collector = EvidenceCollector()
        self.selection: Selection | None = None
        self.unreadable: dict[Path, str] = {}
        self.num_run = 0

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        if self.stage is not None and not self.stage.covers(collection_path):
            return True
        if self.selection is not None and self.selection.is_ignored(collection_path):
            return False  # left out test by test
        return None

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        config, stated = session.config, session.config.args
        if self.stage is not None and not _is_quick(config):
            self.selection = Selection(config)
            config.args = [str(path) for path in self.stage.paths()]
            # It keeps files out of the collection that --lf has no use for.
            config.pluginmanager.unregister(name="lfplugin-collwrapper")
        try:
            return (yield)
        except BaseException as error:
            self._note_end(error)
            raise
        finally:
            config.args = stated

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        if report.failed and self.selection is not None:
            lines = report.longreprtext.strip().splitlines()
            self.unreadable[collector.path] = lines[-1] if lines else "unknown error"
            # What was not asked for does not stop the run: it is left out.
            if not self.selection.concerns(collector.path):
                return pytest.CollectReport(report.nodeid, "passed", None, [])
        return report

    # Around the selections by keyword, marker and other plugins, to know what they leave out.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        collected = list(items)
        outside = [] if self.selection is None else self.selection.take_outside(items)
        yield
        kept = {item: place for place, item in enumerate(items)}
        by_options = f"left out by {selecting_options(config)}"
        by_path = dict(outside)
        selected, deselected = [], [item for item, _ in outside]
        for item in collected:
            why = by_path.get(item) or (None if item in kept else by_options)
            if self._takes_part(item, why) and item in kept:
                selected.append(item)
            elif item in kept:
                deselected.append(item)
        if self.settings.cases_per_test is not None:
            deselected += self._sample(selected, self.settings.cases_per_test)
        if deselected:
            config.hook.pytest_deselected(items=deselected)
        items[:] = sorted(selected, key=kept.__getitem__)  # the order that --ff and others chose
        self._finish_collection(config, collected)
        if launch_variables.CASE_ORDER in os.environ:
            random.Random(os.environ[launch_variables.CASE_ORDER]).shuffle(items)
        # Nothing is timed in a process that has been traced.
        items.sort(key=lambda item: item.get_closest_marker("requires_cupti") is not None)

    def _takes_part(self, item: pytest.Item, why: str | None) -> bool:
        """Whether a test may run; its criteria are told of it.

        why: it was left out already.
        """
        hook = item.ihook
        if not axes.applies(item, self.settings) or (
            hook.pytest_stagegate_applies(item=item, chosen=why is None) is False
        ):
            return False
        criteria = self._criteria_of(item)
        option = item.config.option
        why = axes.why_opted_out(item, option.markexpr) or why
        # Skipped one by one they would fill the record with tests nobody asked for.
        if why is None and getattr(option, "benchmark_only", False) and not _is_benchmark(item):
            why = "left out by --benchmark-only"
        why = why or axes.why_narrowed(item, self.settings)
        why = why or hook.pytest_stagegate_why_left_out(item=item)
        runs = why is None
        why = why or hook.pytest_stagegate_why_unproved(item=item) or why_unmeasured(item)
        self.collector.add(criteria, item.nodeid, why)
        if why is None:
            item.user_properties.extend((PROPERTY, criterion) for criterion in criteria)
        return runs

    def _sample(self, selected: list[pytest.Item], most: int) -> list[pytest.Item]:
        """Leave at most so many cases of each test selected; returns the others."""
        chosen = axes.cover(selected, most)
        others = [item for item in selected if item not in chosen]
        for item in others:
            why = f"left out by --cases-per-test {most}"
            self.collector.add(noted_criteria(item), item.nodeid, why)
        selected[:] = [item for item in selected if item in chosen]
        return others

    def _finish_collection(self, config: pytest.Config, collected: list[pytest.Item]) -> None:
        if self.stage is None or self.selection is None:
            return
        for path, reason in self.unreadable.items():
            # Which criteria its tests are behind only they could say.
            place = path.relative_to(config.rootpath).as_posix()
            self.collector.add(self.stage.criteria, place, f"could not be collected: {reason}")
        self.collector.is_whole = True
        if hasattr(config, "workeroutput"):
            config.workeroutput[_WORKER_OUTPUT] = self.collector.members()
        self.selection.check_found(collected, set(self.unreadable))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist is done: each of them collected everything."""
        members = getattr(node, "workeroutput", {}).get(_WORKER_OUTPUT)
        if members is not None and not self.collector.is_whole:
            for criterion, tests in members.items():
                for nodeid, why in tests.items():
                    self.collector.add([criterion], nodeid, why)
            self.collector.is_whole = True

    def _criteria_of(self, item: pytest.Item) -> list[str]:
        criteria = criteria_of(item, self.stage_of)
        # What may run alone proves what its marks say: it does not stand for its suite.
        if self.stage is not None and not _is_benchmark(item) and not axes.is_opt_in(item):
            criteria += self.stage.criteria_of_place(item)
        return criteria

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        try:
            return (yield)
        except BaseException as error:  # Ctrl-C, -x, an error during collection, pytest.exit
            self._note_end(error)
            raise

    def _note_end(self, error: BaseException) -> None:
        by_hand = type(error) is KeyboardInterrupt
        self.collector.interrupted = (
            "interrupted" if by_hand else anonymous(str(error)) or type(error).__name__
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        check_measurable(item)

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
        if (record := record_path(config)) is not None:
            terminalreporter.write_line(f"record: {os.path.relpath(record)}")
        if self.stage is not None:
            write_table(terminalreporter, self.stage, self.collector)


def _is_benchmark(item: pytest.Item) -> bool:
    return "benchmark" in getattr(item, "fixturenames", ())


def _is_quick(config: pytest.Config) -> bool:
    return bool(config.getoption("benchmark_only", False) and config.option.file_or_dir)
