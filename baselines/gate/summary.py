"""What a gate found, for people and for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

from baselines import escaping
from baselines.gate.escalation import GateResult
from baselines.gate.verdict import Judgement, Reason, Verdict

SEVERITY = (
    Verdict.INVALID,
    Verdict.REGRESSED,
    Verdict.INCONCLUSIVE,
    Verdict.NOT_COMPARABLE,
    Verdict.NO_BASELINE,
    Verdict.IMPROVED,
    Verdict.UNCHANGED,
)

_OUTCOMES = {0: "passed", 1: "failed", 3: "inconclusive", 4: "not comparable"}

EXPLANATIONS = {
    Reason.WORSE_BEYOND_MARGIN: "worse by more than the margin, and the interval excludes zero; "
    "five fresh launches a side showed it again",
    Reason.BETTER_BEYOND_MARGIN: "better by more than the margin, and the interval excludes zero; "
    "five fresh launches a side showed it again",
    Reason.WITHIN_FLOOR: "the whole interval lies within the floor: equivalence is shown",
    Reason.INTERVAL_TOO_WIDE: "the launches differ too much among themselves to say either way; "
    "take more launches, or make the case quieter",
    Reason.HOST_DISTURBED: "a fixed piece of work took differently long beside the launches: the "
    "host was busy with something else; run the gate again on a quiet host",
    Reason.BELOW_ABSOLUTE_FLOOR: "the difference is smaller than what matters for this metric",
    Reason.NOT_CONFIRMED: "it looked changed, but fresh launches did not show it, or time ran out",
    Reason.TOO_FEW_LAUNCHES: "an interval needs at least two launches a side",
    Reason.RUN_INVALID: "a run broke its own conditions twice; its numbers mean nothing",
    Reason.NOT_POSITIVE: "a rate or time is missing, zero or negative",
    Reason.OTHER_MACHINE: "the sides ran on different machines",
    Reason.OTHER_WORK: "the benchmark, its parameters or the checkpoint changed between the sides",
    Reason.NEW_CASE: "the base does not have this case or metric",
    Reason.CASE_REMOVED: "the base has this case and the new side has not",
    Reason.INCOMPLETE: "some launches measured it and some did not",
}

_HEADINGS = ("case", "metric", "verdict", "change", "95 % interval", "margin", "launch sd", "p")


def text_table(judgements: Sequence[Judgement]) -> str:
    rows = [_HEADINGS, *(tuple(map(escaping.one_line, _cells(item))) for item in judgements)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def markdown_table(judgements: Sequence[Judgement]) -> str:
    rows = [_HEADINGS, tuple("---" for _ in _HEADINGS), *map(_cells, judgements)]
    return "\n".join("| " + " | ".join(map(escaping.markdown, row)) + " |" for row in rows)


def headline(result: GateResult) -> str:
    """One sentence: what came of it."""
    counts = Counter(item.verdict for item in result.judgements)
    # In the order of the table of verdicts, which is from worst to best.
    found = ", ".join(
        f"{counts[verdict]} {verdict.value}" for verdict in SEVERITY if counts[verdict]
    )
    words = f"{_OUTCOMES[result.exit_code]}: {found or 'nothing was judged'}"
    if result.failed_criteria:
        words += f"; failed criteria: {', '.join(result.failed_criteria)}"
    if result.advisory:
        words += "; advice only, the baseline ran on another machine of this kind"
    if result.out_of_time:
        words += "; the time budget was used up"
    return f"{words} ({result.launches} launches a side)"


def write_junit(path: Path, stage: str, result: GateResult) -> None:
    """A test case for each judgement: red ones fail, those that say nothing are skipped."""
    suite = ElementTree.Element("testsuite", name=escaping.xml(f"gate {stage}"))
    cases = [(item.case, item.metric, item.verdict, _sentence(item)) for item in result.judgements]
    cases += [
        (criterion, "criterion", Verdict.REGRESSED, "a test that proves it failed")
        for criterion in result.failed_criteria
    ]
    failures = skipped = 0
    for case, metric, verdict, words in cases:
        case, metric, words = map(escaping.xml, (case, metric, words))  # noqa: PLW2901
        element = ElementTree.SubElement(suite, "testcase", classname=case, name=metric)
        if verdict is Verdict.INVALID or (verdict is Verdict.REGRESSED and not result.advisory):
            failures += 1
            ElementTree.SubElement(element, "failure", message=words, type=verdict.value)
        elif verdict not in (Verdict.UNCHANGED, Verdict.IMPROVED):
            skipped += 1
            ElementTree.SubElement(element, "skipped", message=words, type=verdict.value)
        else:
            ElementTree.SubElement(element, "system-out").text = words
    suite.attrib.update(tests=str(len(cases)), failures=str(failures), skipped=str(skipped))
    ElementTree.indent(suite)
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def write_json(path: Path, result: GateResult) -> None:
    content = {
        "exit_code": result.exit_code,
        "launches": result.launches,
        "out_of_time": result.out_of_time,
        "advisory": result.advisory,
        "failed_criteria": list(map(escaping.printable, result.failed_criteria)),
        "judgements": [_plain(judgement) for judgement in result.judgements],
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _plain(judgement: Judgement) -> dict[str, object]:
    return {
        name: escaping.printable(value) if isinstance(value, str) else value
        for name, value in asdict(judgement).items()
    }


def _sentence(item: Judgement) -> str:
    change = "" if item.effect is None else f" by {_percent(item.effect, sign='+')}"
    detail = f" ({item.detail})" if item.detail else ""
    return f"{item.verdict.value}{change}: {EXPLANATIONS[item.reason]}{detail}"


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
