"""The page: valid, self-contained, usable without eyes, and safe whatever a record holds."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stagegate_baselines.records import CopyTime, HotPath, KernelTime, Record
from stagegate_baselines.states import StageState
from stagegate_reports import html
from stagegate_reports.assemble import assemble
from stagegate_reports.model import Report
from suites.reports.page import Page
from suites.reports.sample_records import Sample, sample

ROOT = Path(__file__).parents[2]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}&amp;"


def test_structure_is_valid(page: Page) -> None:
    assert page.errors == []
    ids = [element.attributes["id"] for element in page.root.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    targets = [str(link.attributes["href"]) for link in page.root.all("a")]
    assert targets
    assert {target.removeprefix("#") for target in targets} <= set(ids)
    assert [element.tag for element in page.root.all("h1")] == ["h1"]


def test_nothing_is_loaded(page: Page, text: str) -> None:
    for element in page.root.all():
        assert not {"src", "srcset", "style", "action"} & set(element.attributes), element.tag
        assert not [name for name in element.attributes if name.startswith("on")]
        href = element.attributes.get("href")
        assert href is None or href.startswith("#") or href == "data:,"
    assert not re.findall(r"url\(|@import|fetch\(|XMLHttpRequest|https?://", text)


def test_only_our_style_and_script_may_run(page: Page) -> None:
    policy = page.root.one("meta", **{"http-equiv": "Content-Security-Policy"})
    content = str(policy.attributes["content"])
    assert content.startswith("default-src 'none'")
    for tag in ("style", "script"):
        element = page.root.one(tag)
        (source,) = element.children
        assert isinstance(source, str)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in content


def test_readable_without_eyes(page: Page) -> None:
    for table in page.root.all("table"):
        assert table.one("caption").text
        for head in table.all("th"):
            assert head.attributes["scope"] in ("row", "col")
    for picture in page.root.all("svg"):
        assert picture.attributes["role"] == "img"
        assert picture.one("title").text
    for plot in page.root.all("svg", class_="plot"):
        assert plot.one("desc").text
    assert page.root.one("a", class_="skip").attributes["href"] == "#main"
    for landmark in ("main", "nav", "header", "footer"):
        page.root.one(landmark)
    for section in page.root.all("section"):
        label = str(section.attributes["aria-labelledby"])
        assert page.root.one(id=label).text
    for region in page.root.all(class_="scroll"):
        assert region.attributes["aria-label"]
        assert region.attributes["tabindex"] == "0"


def test_every_plot_has_its_numbers_in_a_table(page: Page, report: Report) -> None:
    for case in report.cases:
        article = page.root.one("article", id=case.anchor)
        rows = list(article.one("table", class_="rounds").one("tbody").all("tr"))
        assert len(rows) == len(case.rounds)
        assert rows[0].one("th").text == "launch 1, round 1"
        if case.versions:
            versions = article.one("table", class_="versions").one("tbody").all("tr")
            assert len(list(versions)) == len(case.versions)
        # The script finds the numbers of a dot by the row it comes from.
        for figure in article.all("figure"):
            column = int(str(figure.attributes["data-column"]))
            for name, table in (("dots", "rounds"), ("past", "versions")):
                for path in figure.all("path", class_=name):
                    body = article.one("table", class_=table).one("tbody")
                    cells = [list(row.all("td"))[column - 1].text for row in body.all("tr")]
                    dots = str(path.attributes["d"]).count("M")
                    assert dots == sum(cell != "\N{EN DASH}" for cell in cells)


def test_the_hot_path_is_a_table(page: Page, report: Report) -> None:
    traced = [case for case in report.cases if case.hot_path is not None]
    assert traced
    for case in report.cases:
        article = page.root.one("article", id=case.anchor)
        tables = list(article.all("table", class_="hot"))
        assert len(tables) == (case in traced)
    case = traced[0]
    assert case.hot_path is not None
    article = page.root.one("article", id=case.anchor)
    assert "The GPU was busy for 80.0 % of" in article.text
    rows = list(article.one("table", class_="hot").one("tbody").all("tr"))
    assert len(rows) == len(case.hot_path.kernels) + len(case.hot_path.copies)
    first = case.hot_path.kernels[0]
    assert rows[0].one("th").text == first.name
    share = f"{100 * first.total_us / case.hot_path.device_us:.1f} %"
    # The number stands beside the bar, which says it as well.
    assert next(iter(rows[0].all("td"))).text == share
    assert rows[0].one("svg").one("title").text == share
    assert "copies host to device, 4,096 KiB" in rows[-1].one("th").text


def test_states_are_words(page: Page, report: Report) -> None:
    rows = page.root.one("table", class_="stages").one("tbody").all("tr")
    for stage, row in zip(report.stages, rows, strict=True):
        assert stage.state.value in row.text
        assert row.one("a").attributes["href"] == f"#stage-{stage.name}"
    assert {stage.state for stage in report.stages} == set(StageState)


def test_the_answer_comes_first(text: str) -> None:
    assert "<title>Report: 2 of 8 stages passed, 1 failed, 1 unproved and 4 open.</title>" in text
    places = [text.index(mark) for mark in ('id="answer"', 'class="stages"', 'id="stage-stage0"')]
    assert places == sorted(places)


def test_reasons_of_failures_are_shown(page: Page) -> None:
    section = page.root.one("section", id="stage-stage1")
    assert "AssertionError: 0.0312 > tolerance 0.0078" in section.text
    details = [item for item in section.all("details") if "open" in item.attributes]
    assert len(details) == 1


def test_a_report_without_cases(records: Sample) -> None:
    record = records.records[0].model_copy(update={"cases": ()})
    page = Page(html.render(assemble(records.plans, [record])))
    assert page.errors == []
    assert not list(page.root.all("section", id="cases"))
    assert "No benchmark case is recorded." in page.root.text


def hostile(record: Record) -> Record:
    """The record with every free text replaced by markup."""
    case = record.cases[0]
    metric = next(metric for metric in case.metrics if metric.name == "tokens_per_sec")
    evidence = record.evidence[0]
    test = evidence.tests[0].model_copy(
        update={"test": HOSTILE, "reason": HOSTILE, "outcome": "failed"}
    )
    return record.model_copy(
        update={
            "legacy": HOSTILE,
            "cases": (
                case.model_copy(
                    update={
                        "name": HOSTILE,
                        "suite": HOSTILE,
                        "params": {HOSTILE: HOSTILE},
                        "invalid": (HOSTILE,),
                        "hot_path": hostile_path(),
                        "metrics": (metric.model_copy(update={"name": HOSTILE, "unit": HOSTILE}),),
                    }
                ),
            ),
            "evidence": (
                evidence.model_copy(
                    update={"criterion": HOSTILE, "sentence": HOSTILE, "tests": (test,)}
                ),
            ),
            "machine": record.machine.model_copy(update={"cpu": HOSTILE}),
            "environment": record.environment.model_copy(
                update={"packages": {HOSTILE: HOSTILE}, "git_revision": HOSTILE}
            ),
        }
    )


def hostile_path() -> HotPath:
    """Names of a kernel and a direction that are markup, and nothing that took any time."""
    return HotPath(
        wall_us=0.0,
        busy_us=0.0,
        kernels=(KernelTime(name=HOSTILE, calls=1, total_us=0.0),),
        copies=(CopyTime(direction=HOSTILE, count=1, size_bytes=0, total_us=0.0),),
    )


def test_records_cannot_inject_markup(records: Sample) -> None:
    report = assemble(records.plans, [hostile(records.records[0])])
    page = Page(html.render(report))
    assert page.errors == []
    assert len(list(page.root.all("script"))) == 1
    assert not list(page.root.all("img"))
    (case,) = report.cases
    assert HOSTILE in page.root.one("article", id=case.anchor).text


def test_the_same_records_give_the_same_bytes(records: Sample, text: str) -> None:
    again = assemble(
        records.plans, tuple(reversed(records.records)), records.history, records.gates
    )
    assert html.render(again) == text


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_bytes_do_not_depend_on_the_process(text: str, hash_seed: str) -> None:
    program = (
        "import hashlib\n"
        "from stagegate_reports import html\n"
        "from stagegate_reports.assemble import assemble\n"
        "from suites.reports.sample_records import sample\n"
        "s = sample()\n"
        "text = html.render(assemble(s.plans, s.records, s.history, s.gates))\n"
        "print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed, "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.strip() == hashlib.sha256(text.encode()).hexdigest()


def test_a_large_report_stays_small_and_quick() -> None:
    large = sample(cases=176, versions=50)  # and those of another engine
    started = time.process_time()
    report = assemble(large.plans, large.records, large.history, large.gates)
    text = html.render(report)
    seconds = time.process_time() - started
    assert len(report.cases) == 200
    assert max(len(case.versions) for case in report.cases) == 50
    assert seconds < 10
    assert len(text.encode()) < 5_500_000
