"""The rounds of benchmarks that are traced: one of each, when everything has been timed.

A process that CUPTI was attached to stays slower, so nothing may be timed in it afterwards.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Generator

import pytest

from stagegate_baselines import launch_variables
from stagegate_baselines.record_file import traces_of
from stagegate_baselines.records import Case
from stagegate_harness import kernel_trace
from stagegate_harness.chrome_trace import chrome_trace
from stagegate_harness.hot_path import hot_path_of
from stagegate_harness.options import SETTINGS, record_path
from stagegate_harness.trace_events import Trace

Step = Callable[[], object]


class TracedRounds:
    """The rounds to trace when the tests of a run are over.

    A round that was planned keeps alive what it uses, so a benchmark whose engine would take all
    memory of the GPU starts its engine with a capacity.
    """

    def __init__(self, config: pytest.Config, cases: list[Case]) -> None:
        self._config = config
        self._cases = cases
        self._planned: dict[tuple[str, str], tuple[Step, Step]] = {}
        # Why no benchmark was traced.
        self.untraced: str | None = None
        # What went wrong in a round, by case.
        self.errors: dict[str, str] = {}

    def plan(self, case: Case, work: Step, *, prepare: Step) -> None:
        """Have `prepare` run later and `work` after it, under the trace.

        Where there is no GPU under test, or KERNEL_TRACE says never, nothing is planned.
        """
        if self._config.stash[SETTINGS].device != "cpu" and (
            os.environ.get(launch_variables.KERNEL_TRACE) != "never"
        ):
            self._planned[case.suite, case.name] = (prepare, work)

    # Around the loop over the tests: whoever writes a file in pytest_sessionfinish finds hot paths.
    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        result = yield
        self.run()
        session.testsfailed += len(self.errors)
        return result

    def run(self) -> None:
        """Trace what was planned: a case gets its hot path, its Chrome trace lies by the record.

        A case that is invalid is left out.
        """
        for index, case in enumerate(self._cases):
            if case.invalid or (case.suite, case.name) not in self._planned:
                continue
            prepare, work = self._planned.pop((case.suite, case.name))
            if (reason := kernel_trace.missing()) is not None:
                self.untraced = reason
                return
            try:
                prepare()
                with kernel_trace.kernel_trace() as trace:
                    work()
            except kernel_trace.TraceError as error:
                self.untraced = str(error)
                return
            except Exception as error:  # of the engine, or an assertion about what it gave
                self.errors[case.name] = f"{type(error).__name__}: {error}"
                continue
            path = hot_path_of(trace)
            self._cases[index] = case.model_copy(update={"hot_path": path})
            if path is not None:
                self._write(case, trace)

    def _write(self, case: Case, trace: Trace) -> None:
        record = record_path(self._config)
        if record is None:
            return
        file = traces_of(record) / f"{file_name(f'{case.suite}-{case.name}')}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(chrome_trace(trace)), "utf-8")


TRACED_ROUNDS = pytest.StashKey[TracedRounds]()


def file_name(case: str) -> str:
    """The name of a case without what file systems and shells give a meaning."""
    return re.sub(r"[^\w.=-]+", "_", case).strip("_.")
