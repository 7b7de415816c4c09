"""The report as Markdown: what a pull request or a terminal has room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stagegate_baselines.escaping import markdown as escape
from stagegate_reports import headline
from stagegate_reports.formatting import (
    SIGNS,
    change,
    count,
    interval,
    number,
    share,
    times,
    times_interval,
)
from stagegate_reports.hot_rows import hot_rows, hot_sentence
from stagegate_reports.model import NOT_JUDGED, CaseView, Report, StageView

# Verdicts that need no row of their own, where there is something to compare with.
_QUIET = ("unchanged", "not-judged")
# Kernels shown of a hot path; the page has all.
_HOTTEST = 8


def render(report: Report) -> str:
    """Stages first, then what is not proved, the cases that changed, layouts and peers."""
    parts = [
        f"# {escape(report.title)}: {headline.answer(report)}",
        headline.speed(report),
        _table(("Stage", "State", "Criteria", "Cases"), map(_stage_row, report.stages)),
    ]
    for stage in report.stages:
        parts += _stage(stage)
    if report.unstaged:
        parts += ["## Outside the stages", _cases(report.unstaged), *_hot_paths(report.unstaged)]
    if report.layouts:
        parts += ["## Slot against block", _layouts(report)]
    if report.peers:
        parts += ["## Peers", _peers(report)]
    parts.append("## Records")
    rows = [
        (record.created, record.stage or "–", "–" if record.launch is None else str(record.launch),
         record.revision, record.machine_key, record.environment_key)
        for record in report.records
    ]  # fmt: skip
    header = ("Created", "Stage", "Launch", "Revision", "Machine", "Environment")
    parts.append(_table(header, rows))
    return "\n\n".join(parts) + "\n"


def _layouts(report: Report) -> str:
    rows = [
        (row.case.name, row.other.name, row.metric, number(row.value, row.unit),
         number(row.other_value, row.unit), times(row.gain))
        for row in report.layouts
    ]  # fmt: skip
    return _table(("Block", "Slot", "Metric", "Block", "Slot", "Block is"), rows)


def _peers(report: Report) -> str:
    rows = [
        (row.case.name, row.metric, row.word, number(row.value, row.unit),
         number(row.other_value, row.unit), times(row.gain), times_interval(row.interval))
        for row in report.peers
    ]  # fmt: skip
    header = (
        "Case", "Metric", "Peer", report.title, "Peer's", f"{report.title} is", "95 % interval",
    )  # fmt: skip
    return _table(header, rows)


def _stage_row(stage: StageView) -> tuple[str, ...]:
    proved = len(stage.criteria_in("proved"))
    verdicts = ", ".join(f"{found} {word}" for word, found in stage.verdict_counts)
    return (
        f"{stage.name} {stage.title}",
        _signed(stage.state.value),
        f"{proved} of {len(stage.criteria)} proved",
        verdicts or "–",
    )


def _stage(stage: StageView) -> list[str]:
    if stage.state.value == "open":
        return []
    parts = [f"## {escape(stage.name)} {escape(stage.title)}: {stage.state.value}"]
    parts += [f"Note: {escape(note)}" for note in stage.notes]
    missing = [criterion for criterion in stage.criteria if criterion.state != "proved"]
    lines = []
    for criterion in missing:
        name, sentence = escape(criterion.name), escape(criterion.sentence)
        lines.append(f"- {_signed(criterion.state)} **{name}** {sentence}")
        lines += [
            f"  - {escape(test.test)}: {test.outcome}{_because(test.reason)}"
            for test in criterion.tests
            if test.outcome == "failed"
        ]
        if criterion.missing:
            lines.append(f"  - missing: {escape(criterion.missing)}")
    if lines:
        parts.append("\n".join(lines))
    if stage.cases:
        parts.append(_cases(stage.cases))
    return parts + _hot_paths(stage.cases)


def _cases(cases: Sequence[CaseView]) -> str:
    loud = [case for case in cases if case.verdict_word not in _QUIET]
    alone = [
        case for case in cases if case.verdict_word == NOT_JUDGED and case.baseline_label is None
    ]
    header = (
        "Case", "Verdict", "Metric", "Now", "Baseline", "Change", "95 % interval", "Margin",
        "Compared",
    )  # fmt: skip
    parts = [_table(header, map(_case_row, loud))] if loud else []
    parts += [_medians(alone)] if alone else []
    if quiet := len(cases) - len(loud) - len(alone):
        words = count(quiet, "more case is", "more cases are")
        parts.append(f"{words} unchanged or not judged.")
    return "\n\n".join(parts)


def _medians(cases: Sequence[CaseView]) -> str:
    """Of cases that there is nothing to compare with: the values are the answer."""
    rows = [
        (case.name, metric.name, number(metric.value, metric.unit), case.compared)
        for case in cases
        for metric in case.metrics
        if metric.judged or case.lead is None
    ]
    return _table(("Case", "Metric", "Median", "Of"), rows)


def _hot_paths(cases: Sequence[CaseView]) -> list[str]:
    """What took the most time on the GPU in each case that was traced."""
    parts = []
    for case in cases:
        if case.hot_path is None:
            continue
        rows = hot_rows(case.hot_path)
        shown = [
            (row.name, share(row.share), str(row.calls), number(row.total_us, "us"),
             number(row.mean_us, "us"))
            for row in rows[:_HOTTEST]
        ]  # fmt: skip
        header = ("Kernel", "Share of device time", "Calls", "Total", "Mean")
        parts += [
            f"### Hot path of {escape(case.name)}",
            escape(hot_sentence(case.hot_path)),
            _table(header, shown),
        ]
        if len(rows) > _HOTTEST:
            rest = sum(row.share for row in rows[_HOTTEST:])
            parts.append(f"{count(len(rows) - _HOTTEST, 'more row')}: {share(rest)}.")
    return parts


def _case_row(case: CaseView) -> tuple[str, ...]:
    lead, word = case.lead, _signed(case.verdict_word)
    if lead is None:
        return (case.name, word, *["–"] * 7)
    said = lead.verdict
    return (
        case.name,
        word,
        lead.name_by_clock,
        number(lead.value, lead.unit),
        number(lead.baseline, lead.unit),
        change(lead.change, lead.better),
        interval(said.interval if said else None),
        interval(said.margin if said else None),
        case.compared,
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _signed(word: str) -> str:
    return f"{SIGNS[word]} {word}"


def _because(reason: str | None) -> str:
    return f" ({escape(reason)})" if reason else ""
