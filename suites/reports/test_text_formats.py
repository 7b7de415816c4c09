"""Markdown, CSV and numbers in words."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest

from stagegate_baselines.escaping import markdown as escape
from stagegate_baselines.escaping import printable
from stagegate_baselines.gate.conditions import Clock
from stagegate_baselines.records import Better
from stagegate_reports import csv_export, markdown
from stagegate_reports.assemble import assemble
from stagegate_reports.formatting import (
    change,
    count,
    interval,
    joined,
    number,
    percent,
    share,
    times,
)
from stagegate_reports.model import Report
from suites.reports.sample_records import Sample
from suites.reports.test_html import HOSTILE, hostile


def rows_of(report: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_export.render(report), newline="")))


def test_csv_has_a_row_for_every_metric(report: Report) -> None:
    rows = rows_of(report)
    assert len(rows) == sum(len(case.metrics) for case in report.cases)
    case, metric = next(
        (case, metric)
        for case in report.cases
        for metric in case.metrics
        if metric.verdict is not None and metric.verdict.change is not None
    )
    row = next(
        row
        for row in rows
        if (row["stage"], row["case"], row["metric"]) == (case.stage, case.name, metric.name)
    )
    assert float(row["value"]) == metric.value
    assert metric.verdict is not None
    assert float(row["change"]) == metric.change == metric.verdict.change
    ends = [float(row[name]) for name in ("interval_low", "interval_high")]
    assert tuple(ends) == metric.verdict.interval
    assert float(row["margin_low"]) < 0 < float(row["margin_high"])
    assert row["compared"] == case.compared
    assert int(row["rounds"]) == sum(len(launch) for launch in metric.launches)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_csv_runs_nothing_in_a_spreadsheet(records: Sample, start: str) -> None:
    record = records.records[0]
    text = f'{start}HYPERLINK("x","y")'
    case = record.cases[0].model_copy(update={"name": text, "params": {text: text}})
    rows = rows_of(assemble(records.plans, [record.model_copy(update={"cases": (case,)})]))
    assert rows
    for row in rows:
        assert row["case"] == f"'{printable(text)}"
        for name, cell in row.items():
            # What starts as a formula does is a number of ours.
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) or float(cell), name


def test_markdown_names_what_is_not_proved(report: Report) -> None:
    text = markdown.render(report)
    assert text.startswith("# Report: 2 of 8 stages passed")
    assert "- ✗ failed **s1.smoke**" in text
    assert "AssertionError: 0.0312 \\> tolerance 0.0078" in text
    assert "s0.functional" not in text  # proved
    assert "\N{MULTIPLICATION SIGN} |" in text


def test_markdown_of_a_first_run_has_its_medians(records: Sample) -> None:
    """Without a baseline there is nothing else to say of them."""
    first = assemble(records.plans, records.records[:1])
    text = markdown.render(first)
    alone = [case for case in first.cases if case.verdict_word == "not-judged"]
    shown = [(case, metric) for case in alone for metric in case.metrics if metric.judged]
    assert shown
    for case, metric in shown:
        value = number(metric.value, metric.unit)
        assert f"| {escape(case.name)} | {escape(metric.name)} | {value} | 1 launch |" in text
    assert "unchanged or not judged" not in text


def test_markdown_says_what_was_judged_by_cpu_time(report: Report) -> None:
    case = next(case for case in report.cases if case.verdict_word == "regressed")
    assert case.lead is not None
    assert case.lead.verdict is not None
    assert "CPU time" not in case.lead.name_by_clock + case.lead.reason
    finding = case.lead.verdict.model_copy(update={"judged_by": Clock.CPU})
    judged = replace(case.lead, verdict=finding)
    assert judged.name_by_clock == f"{case.lead.name}, CPU time"
    assert judged.reason.endswith("; judged by CPU time: the host was disturbed")


def test_markdown_shows_the_hottest_kernels(report: Report) -> None:
    text = markdown.render(report)
    traced = [case for case in report.cases if case.hot_path is not None]
    assert text.count("### Hot path of ") == len(traced)
    part = text.split("### Hot path of ")[1]
    rows = [line for line in part.splitlines() if line.startswith("| ") and " us |" in line]
    assert len(rows) == 8
    assert rows[0].startswith("| nvjet\\_hsh\\_64x8\\_64x16\\_4x1\\_v\\_bz\\_TNT | 57.1 % |")
    assert "6 more rows: " in part


def test_markdown_tables_keep_their_shape(records: Sample, report: Report) -> None:
    bad = assemble(records.plans, [hostile(records.records[0])])
    for text in (markdown.render(report), markdown.render(bad)):
        width = 0
        for line in text.splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line))
            assert not cells or not width or cells == width, line
            width = cells
    assert HOSTILE not in markdown.render(bad)
    assert not re.search(r"(?<!\\)<", markdown.render(bad))


def test_text_formats_repeat_byte_for_byte(records: Sample, report: Report) -> None:
    again = assemble(
        records.plans, tuple(reversed(records.records)), records.history, records.gates
    )
    assert markdown.render(again) == markdown.render(report)
    assert csv_export.render(again) == csv_export.render(report)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (None, "ms", "–"),
        (0.0, "1", "0"),
        (12.0, "tok/s", "12 tok/s"),
        (0.0123456, "s", "0.01235 s"),
        (999.96, "ms", "1,000 ms"),
        (12345.6, "1", "12,346"),
        (-2.5, "1", "−2.5"),
        (3 * 2.0**20, "bytes", "3.0 MiB"),
    ],
)
def test_numbers(value: float | None, unit: str, expected: str) -> None:
    assert number(value, unit) == expected


def test_changes_in_words() -> None:
    assert change(0.0123, Better.LOWER) == "+1.2 %, worse"
    assert change(-0.0123, Better.LOWER) == "−1.2 %, better"
    assert change(-0.5, Better.HIGHER) == "−50.0 %, worse"
    assert change(0.00001, Better.LOWER) == change(-0.0, Better.LOWER) == "0.0 %"
    assert (interval((-0.012, 0.034)), interval(None)) == ("−1.2 % to +3.4 %", "–")
    assert (percent(-0.05), percent(0.05), percent(0.0)) == ("−5.0 %", "+5.0 %", "0.0 %")
    assert (share(0.05), times(1.234), times(None)) == ("5.0 %", "1.23×", "–")
    assert (count(1, "case"), count(1200, "case")) == ("1 case", "1,200 cases")
    assert (joined(["a"]), joined(["a", "b", "c"])) == ("a", "a, b and c")
