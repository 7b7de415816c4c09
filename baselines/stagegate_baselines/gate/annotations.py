"""Marks on a run of GitHub Actions: what a job that passed would hide.

Lines that the runner reads from the job's output.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from stagegate_baselines.escaping import github_message, github_property
from stagegate_baselines.gate.escalation import GateResult
from stagegate_baselines.gate.findings import findings
from stagegate_baselines.gate.summary import UNDECIDED, is_red, sentence
from stagegate_baselines.states import Verdict

# GitHub shows no more of a level and step.
LIMIT = 10


def annotate(result: GateResult, *, strict: bool = False) -> None:
    """Print an error for what is red and a warning for what says nothing; elsewhere do nothing."""
    errors = [
        (f"{criterion} failed", "a test that proves it failed")
        for criterion in result.failed_criteria
    ]
    warnings = []
    for item in findings(result):
        mark = (f"{item.case} {item.metric}: {item.verdict.value}", sentence(item))
        if is_red(item, advisory=result.advisory, strict=strict):
            errors.append(mark)
        elif item.verdict in (*UNDECIDED, Verdict.REGRESSED):
            warnings.append(mark)
    if not result.judgements:
        (errors if strict else warnings).append(("nothing was judged", "no benchmark ran"))
    _print("error", errors)
    _print("warning", warnings)


def annotate_failure(title: str, words: str, *, red: bool) -> None:
    """Print why there is no verdict at all; elsewhere do nothing."""
    _print("error" if red else "warning", [(title, words)])


def _print(level: str, marks: Sequence[tuple[str, str]]) -> None:
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    shown = list(marks)
    if len(marks) > LIMIT:
        rest = marks[LIMIT - 1 :]
        more = "\n".join(title for title, _ in rest)
        shown = [*marks[: LIMIT - 1], (f"{len(rest)} more", more)]
    for title, words in shown:
        print(f"::{level} title={github_property(title)}::{github_message(words)}", flush=True)
