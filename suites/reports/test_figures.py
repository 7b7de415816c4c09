"""The large figures show what the records say, in the colours of the page."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from stagegate_baselines.records import Better
from stagegate_reports import charts, figures
from stagegate_reports.model import CaseView, Comparison, MetricView, Report
from suites.reports.page import Page

SIZES = {1: 2.0, 8: 3.0, 64: 20.0}


def metric(name: str, value: float, **others: object) -> MetricView:
    bare = MetricView(
        name=name, unit="us", better=Better.LOWER, judged=True, launches=((value,),), value=value,
        low=value, high=value, baseline=None, change=None, history=(), verdict=None,
    )  # fmt: skip
    return replace(bare, **others)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def operators(report: Report) -> list[CaseView]:
    """One operator in three sizes; the largest is bound by arithmetic."""
    return [
        replace(
            report.cases[0],
            name=f"test_linear[{rows}]",
            anchor=f"case-{rows}",
            params=(("rows", str(rows)), ("seed", "0")),
            versions=(),
            metrics=(
                metric("call_us", value),
                metric("share_of_copy", 0.5, unit="1", judged=False),
                metric("share_of_matmul", rows / 100, unit="1", judged=False),
            ),
        )
        for rows, value in SIZES.items()
    ]


def test_colours_are_those_of_the_page(page: Page, operators: list[CaseView]) -> None:
    (curve,) = charts.cost_curves(operators)
    extra = Page(figures.cost(curve, name="cost") + figures.limits(*limits(operators), name="near"))
    found = [*page.root.all("svg", class_="figure"), *extra.root.all("svg", class_="figure")]
    assert len(found) > 4
    for figure in found:
        assert figure.one("desc").text
        for element in figure.all():
            for name in ("fill", "stroke"):
                colour = element.attributes.get(name)
                assert colour is None or re.fullmatch(r"none|var\(--\w+\)", colour), colour
        # Else the page's own font is not used, or text is not shown at all.
        assert list(figure.all("text"))
        assert not [element for element in figure.all() if "font-family" in element.attributes]


def limits(cases: list[CaseView]) -> list[tuple[charts.LimitRow, ...]]:
    return [tuple(rows) for rows in charts.limits(cases).values()]


def test_history_starts_at_one(report: Report) -> None:
    stage = report.stages[0]
    past = charts.history(stage.cases)
    assert past.labels[-1] == "now"
    assert len(past.lines) > 2
    for line in past.lines:
        assert line.points[0][1] == 1
        lead = line.case.lead
        assert lead is not None
        assert lead.value is not None
        first = next(
            value
            for version, value in zip(line.case.versions, lead.history, strict=True)
            if version.comparable and value is not None
        )
        better = lead.value / first if lead.better is Better.HIGHER else first / lead.value
        assert line.points[-1] == (len(past.labels) - 1, better)
    # The first versions measured other work.
    assert min(line.points[0][0] for line in past.lines) == 2


def test_a_case_without_a_past_has_no_history(operators: list[CaseView]) -> None:
    assert charts.history(operators).lines == ()
    assert figures.history(charts.history(operators), name="empty") == ""


def test_the_nearest_limit_counts(operators: list[CaseView]) -> None:
    (rows,) = limits(operators)
    assert [(row.limit, row.share) for row in rows] == [
        ("memory", 0.5), ("memory", 0.5), ("arithmetic", 0.64),
    ]  # fmt: skip
    picture = Page(figures.limits(rows, name="near")).root.one("svg")
    assert "test_linear[64] 64.0 % of arithmetic" in picture.one("desc").text
    assert "64.0 %" in [text.text for text in picture.all("text")]


def test_cost_by_size(operators: list[CaseView], report: Report) -> None:
    (curve,) = charts.cost_curves(operators)
    assert (curve.parameter, curve.metric) == ("rows", "call_us")
    (line,) = curve.lines
    assert line.label == "test_linear"
    assert line.points == tuple(SIZES.items())
    text = Page(figures.cost(curve, name="cost")).root.one("desc").text
    assert "2 us at 1" in text
    other = [replace(case, params=(*case.params, ("form", case.name))) for case in operators]
    assert charts.cost_curves(other) == ()


def test_rates_are_shown_where_no_metric_grows(operators: list[CaseView]) -> None:
    """With what belongs beside them; lines in the order of their numbers."""
    cases = [
        replace(
            case,
            params=(("batch", str(batch)), ("context_len", rows)),
            metrics=(
                metric("tokens_per_sec", batch * float(rows), better=Better.HIGHER, unit="tok/s"),
                metric("kv_bytes", batch * 2.0**20, judged=False, unit="bytes"),
            ),
        )
        for case in operators
        for batch in (64, 8, 256)
        for rows in [dict(case.params)["rows"]]
    ]
    curves = {(curve.metric, curve.parameter): curve for curve in charts.cost_curves(cases)}
    assert set(curves) == {
        (name, size) for name in ("tokens_per_sec", "kv_bytes") for size in ("batch", "context_len")
    }
    curve = curves["tokens_per_sec", "context_len"]
    assert [line.label for line in curve.lines] == [
        f"test_linear batch={batch}" for batch in (8, 64, 256)
    ]
    picture = Page(figures.cost(curves["kv_bytes", "batch"], name="kv")).root.one("svg")
    assert "100.0 MiB" in [text.text for text in picture.all("text")]


def comparison(case: CaseView, gain: float, **others: object) -> Comparison:
    [lead] = [item for item in case.metrics if item.judged]
    bare = Comparison(
        case=replace(case, params=(*case.params, ("model", "m1"))), other=case, word="vllm",
        metric=lead.name, unit=lead.unit, better=lead.better, value=1.0, other_value=1.0,
        gain=gain, interval=(0.9 * gain, 1.1 * gain),
    )  # fmt: skip
    return replace(bare, **others)  # type: ignore[arg-type]


def test_ratios_to_other_engines(operators: list[CaseView]) -> None:
    named = [
        replace(case, name=f"{letter}[stagegate]")
        for case, letter in zip(operators, "ABC", strict=True)
    ]
    rows = [comparison(case, gain) for case, gain in zip(named, (1.25, 0.8, 60.0), strict=True)]
    aside = comparison(named[0], 2.0, metric="other")
    stage = str(operators[0].stage)
    bars = charts.peer_bars([*rows, aside], stage)
    assert charts.peer_bars(rows, "stage none") == ()
    assert [(bar.label, bar.gain) for bar in bars] == [
        ("A m1, vllm", 1.25), ("B m1, vllm", 0.8), ("C m1, vllm", 60.0),
    ]  # fmt: skip
    assert [bar.limit and bar.limit.share for bar in bars] == [0.5, 0.5, 0.64]
    picture = Page(figures.peers(bars, name="peers")).root.one("svg")
    assert "A m1, vllm: 1.25× (1.12× to 1.38×), 50.0 % of memory" in picture.one("desc").text
    texts = [text.text for text in picture.all("text")]
    assert {"1.25×", "0.80×", "60.00×", "64.0 %"} <= set(texts)
    assert figures.peers((), name="none") == ""
    bare = [replace(bar, limit=None) for bar in bars]
    picture = Page(figures.peers(bare, name="bare")).root.one("svg")
    assert "A m1, vllm: 1.25× (1.12× to 1.38×); B m1" in picture.one("desc").text


def test_layouts_name_both_ends(report: Report) -> None:
    gains = [row.gain for row in report.layouts if row.gain is not None]
    picture = Page(figures.layouts(report.layouts, name="layouts")).root.one("svg")
    assert (
        f"{min(gains):.2f}\N{MULTIPLICATION SIGN} to {max(gains):.2f}" in picture.one("desc").text
    )


@pytest.mark.parametrize("name", ["$x^2", "<script>alert(1)</script>", "日本語 \ud800 \x1b[0m", ""])
def test_any_name_is_shown_as_it_is(operators: list[CaseView], name: str) -> None:
    (rows,) = limits([replace(operators[0], name=name)])
    page = Page(figures.limits(rows, name="near"))
    assert page.errors == []
    assert not list(page.root.all("script"))
    assert name.partition(" ")[0] in page.root.text
