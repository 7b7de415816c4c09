"""A report of the sample records, made once."""

from __future__ import annotations

import pytest

from stagegate_reports import html
from stagegate_reports.assemble import assemble
from stagegate_reports.model import Report
from suites.reports.page import Page
from suites.reports.sample_records import Sample, sample


@pytest.fixture(scope="session")
def records() -> Sample:
    return sample()


@pytest.fixture(scope="session")
def report(records: Sample) -> Report:
    return assemble(records.plans, records.records, records.history, records.gates)


@pytest.fixture(scope="session")
def text(report: Report) -> str:
    return html.render(report)


@pytest.fixture(scope="session")
def page(text: str) -> Page:
    return Page(text)
