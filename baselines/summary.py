"""What a gate found, for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from baselines.gate import GateResult
from baselines.verdict import Judgement, Reason

EXPLANATIONS = {
    Reason.WORSE_BEYOND_MARGIN: "slower by more than the margin, and the interval excludes zero; "
    "three fresh pairs showed it again",
    Reason.BETTER_BEYOND_MARGIN: "faster by more than the margin, and the interval excludes zero",
    Reason.WITHIN_MARGIN: "the whole interval lies within the margin: equivalence is shown",
    Reason.INTERVAL_TOO_WIDE: "the launches differ too much among themselves to say either way; "
    "take more launches, or make the case quieter",
    Reason.BELOW_ABSOLUTE_FLOOR: "the difference is smaller than what matters for this metric",
    Reason.NOT_CONFIRMED: "it looked slower, but fresh pairs did not show it, or time ran out",
    Reason.TOO_FEW_LAUNCHES: "an interval needs at least two launches a side",
    Reason.RUN_INVALID: "a run broke its own conditions twice; its numbers mean nothing",
    Reason.NOT_POSITIVE: "a rate or time is missing, zero or negative",
    Reason.OTHER_MACHINE: "the sides ran on different machines",
    Reason.OTHER_WORK: "the benchmark, its parameters or the checkpoint changed between the sides",
    Reason.NEW_CASE: "the base does not have this case",
}

_HEADINGS = ("case", "metric", "verdict", "change", "90 % interval", "margin", "launch sd", "p")


def text_table(judgements: Sequence[Judgement]) -> str:
    rows = [_HEADINGS, *map(_cells, judgements)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def markdown_table(judgements: Sequence[Judgement]) -> str:
    rows = [_HEADINGS, tuple("---" for _ in _HEADINGS), *map(_cells, judgements)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows
    )


def write_json(path: Path, result: GateResult) -> None:
    content = {
        "exit_code": result.exit_code,
        "pairs": result.pairs,
        "out_of_time": result.out_of_time,
        "judgements": [asdict(judgement) for judgement in result.judgements],
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _cells(judgement: Judgement) -> tuple[str, ...]:
    return (
        judgement.case,
        judgement.metric,
        judgement.verdict.value,
        _percent(judgement.effect, sign="+"),
        f"{_percent(judgement.low, sign='+')} .. {_percent(judgement.high, sign='+')}",
        _percent(judgement.margin),
        _percent(judgement.sigma),
        "-" if judgement.adjusted_p is None else f"{judgement.adjusted_p:.3f}",
    )


def _percent(value: float | None, *, sign: str = "") -> str:
    return "-" if value is None else f"{100 * value:{sign}.1f} %"
