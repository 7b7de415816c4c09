"""Reports of records whose text is anything at all are read back by the readers of their format."""

from __future__ import annotations

import csv
import io

from hypothesis import given, settings
from markdown_it import MarkdownIt

from stagegate_baselines.escaping import csv_cell, one_line, printable
from stagegate_baselines.records import Record
from stagegate_baselines.records import TestOutcome as Outcome
from stagegate_reports import csv_export, html, markdown
from stagegate_reports.assemble import assemble
from stagegate_reports.model import Report
from suites.baselines.any_text import ANY_TEXT
from suites.reports.page import Page
from suites.reports.sample_records import sample

SAMPLE = sample(cases=4)
few = settings(max_examples=25, deadline=None)


def report_of(text: str) -> Report:
    """One case and one failed test, each of that name; unchecked, as a careless caller has them."""
    record: Record = SAMPLE.records[0]
    case = record.cases[0].model_copy(
        update={"name": text, "params": {"p": text}, "invalid": (text,)}
    )
    failed = Outcome(test="t", outcome="failed", seconds=0.0)
    failed = failed.model_copy(update={"test": text, "reason": text})
    proof = record.evidence[0].model_copy(update={"state": "failed", "tests": (failed,)})
    return assemble(
        SAMPLE.plans,
        [record.model_copy(update={"cases": (case,), "evidence": (proof,)})],
    )


@few
@given(text=ANY_TEXT)
def test_pages(text: str) -> None:
    page = Page(html.render(report_of(text)))
    assert page.errors == []
    assert " ".join(printable(text).split()) in " ".join(page.root.text.split())


@few
@given(text=ANY_TEXT)
def test_markdown(text: str) -> None:
    tokens = MarkdownIt().enable("table").parse(markdown.render(report_of(text)))
    shown = [
        "".join(child.content for child in token.children or [])
        for token in tokens
        if token.type == "inline"
    ]
    kinds = {child.type for token in tokens for child in token.children or []}
    assert kinds <= {"text", "text_special", "strong_open", "strong_close"}
    because = f" ({one_line(text)})" if text else ""
    assert f"{one_line(text)}: failed{because}".strip() in shown


@few
@given(text=ANY_TEXT)
def test_csv(text: str) -> None:
    content = csv_export.render(report_of(text)).encode().decode()
    rows = list(csv.DictReader(io.StringIO(content, newline=""), strict=True))
    assert rows
    for row in rows:
        assert row["case"] == csv_cell(text)
        assert row["invalid"] == csv_cell(text)
        assert None not in row
        assert row["params"] == f"p={printable(text)}"
