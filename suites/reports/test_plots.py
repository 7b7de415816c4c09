"""The small pictures."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from stagegate_baselines.gate.findings import Finding
from stagegate_baselines.gate.verdict import Judgement, Reason
from stagegate_baselines.quantities import natural
from stagegate_baselines.records import Better
from stagegate_baselines.states import Verdict
from stagegate_reports import plots
from stagegate_reports.model import CaseView, Report
from suites.reports.page import Page


@pytest.fixture
def case(report: Report) -> CaseView:
    return next(case for case in report.cases if len(case.versions) > 3 and case.lead)


def test_scale_keeps_order_and_bounds() -> None:
    scale = plots.Scale([1.0, 3.0], 90, 10)
    assert 90 > scale(1.0) > scale(2.0) > scale(3.0) > 10
    assert scale(2.0) == pytest.approx(50)
    for only in (0.0, 5.0, -5.0):
        assert plots.Scale([only], 0, 100)(only) == pytest.approx(50)


def test_rounds_shows_every_sample(case: CaseView) -> None:
    assert case.lead is not None
    picture = Page(str(plots.rounds(case, case.lead))).root
    dots = re.findall(
        r"M([\d.]+) ([\d.]+)h0", str(picture.one("path", class_="dots").attributes["d"])
    )
    assert len(dots) == sum(len(launch) for launch in case.lead.launches)
    samples = [sample for launch in case.lead.launches for sample in launch]
    heights = [float(y) for _, y in dots]
    # Larger is higher, so smaller on the page.
    assert samples.index(max(s for s in samples if s is not None)) == heights.index(min(heights))
    picture.one("path", class_="base")


def test_history_marks_what_does_not_compare(case: CaseView) -> None:
    assert case.lead is not None
    picture = Page(str(plots.history(case, case.lead))).root
    other = [version for version in case.versions if not version.comparable]
    assert other
    assert len(list(picture.all("circle", class_="other"))) == len(other)
    dots = str(picture.one("path", class_="past").attributes["d"])
    assert dots.count("M") == len(case.versions)


def test_nothing_to_show_is_no_picture(case: CaseView) -> None:
    assert case.lead is not None
    empty = replace(case.lead, launches=((None,),), value=None, baseline=None, history=())
    assert plots.rounds(case, empty) == ""
    assert plots.history(replace(case, versions=()), empty) == ""
    assert plots.effect(None, 0.1) == ""
    new = Judgement("case", "metric", Verdict.NO_BASELINE, Reason.NEW_CASE)
    assert plots.effect(Finding.of(new), 0.1) == ""
    assert plots.telemetry("Power", "W", (0.0, 1.0), (None, None)) == ""


@pytest.mark.parametrize(
    ("effect", "arrows"), [(0.05, 0), (3.0, 1), (-0.9, 1)], ids=["inside", "worse", "better"]
)
@pytest.mark.parametrize("better", Better)
def test_intervals_beyond_the_axis_end_in_an_arrow(
    effect: float, arrows: int, better: Better
) -> None:
    found = Finding.of(
        Judgement(
            "case", "metric", Verdict.REGRESSED, Reason.WORSE_BEYOND_MARGIN, better=better,
            effect=effect, low=effect - 0.01, high=effect + 0.01, margin=0.03,
        )
    )  # fmt: skip
    svg = str(plots.effect(found, 0.1))
    picture = Page(svg).root
    assert len(list(picture.all("path", class_="span"))) == 1 + arrows
    at = float(str(picture.one("circle").attributes["cx"]))
    # Worse is right, whichever direction of the metric that is.
    assert 80 < at <= 160 if effect > 0 else 0 <= at < 80
    words = "worse" if effect > 0 else "better"
    change = f"{100 * natural(effect, better):+.1f} %, {words}".replace("-", "\N{MINUS SIGN}")
    assert change in picture.one("title").text


def test_the_axis_is_common_and_bounded(report: Report) -> None:
    assert plots.reach([]) >= 0.05
    assert plots.reach(report.cases) <= 0.5


def test_names_are_escaped(case: CaseView) -> None:
    assert case.lead is not None
    hostile = replace(case.lead, name="<script>", unit="<b>")
    for picture in (plots.rounds(case, hostile), plots.history(case, hostile)):
        assert not list(Page(str(picture)).root.all("script"))
        assert "<b>" not in picture
