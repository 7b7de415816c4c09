"""The round of a benchmark that is traced: one more, after those that were timed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from baselines.record_file import traces_of
from baselines.records import HotPath
from suites.harness import kernel_trace
from suites.harness.chrome_trace import chrome_trace
from suites.harness.hot_path import hot_path_of
from suites.harness.options import SETTINGS

# "never" switches tracing off; a gate does.
TRACE_VARIABLE = "STAGEGATE_KERNEL_TRACE"
# Why a benchmark on a GPU was not traced.
UNTRACED = pytest.StashKey[str]()


def trace_round(
    config: pytest.Config,
    case: str,
    work: Callable[[], object],
    *,
    prepare: Callable[[], object],
) -> HotPath | None:
    """Run `prepare`, then `work` under the trace; the Chrome trace lies beside the record.

    None where there is nothing to trace or no way to: no GPU under test, TRACE_VARIABLE says never,
    or CUPTI is missing, which UNTRACED then says. Nothing runs in these cases.
    """
    if config.stash[SETTINGS].device != "cuda" or os.environ.get(TRACE_VARIABLE) == "never":
        return None
    if (reason := kernel_trace.missing()) is not None:
        config.stash[UNTRACED] = reason
        return None
    prepare()
    try:
        with kernel_trace.kernel_trace() as trace:
            work()
    except kernel_trace.TraceError as error:
        config.stash[UNTRACED] = str(error)
        return None
    path = hot_path_of(trace)
    record = config.getoption("benchmark_json", None)
    if path is not None and record is not None:
        file = traces_of(Path(record.name)) / f"{file_name(case)}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(chrome_trace(trace)), "utf-8")
    return path


def file_name(case: str) -> str:
    """The name of a case without what file systems and shells give a meaning."""
    return re.sub(r"[^\w.=-]+", "_", case).strip("_.")
