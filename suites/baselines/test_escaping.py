"""Whatever text others wrote, every file with it is read back, and shows what is printable."""

from __future__ import annotations

import json
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from markdown_it import MarkdownIt

from stagegate_baselines.anonymous import anonymous
from stagegate_baselines.escaping import github_message, github_property, one_line, printable
from stagegate_baselines.gate.escalation import GateResult
from stagegate_baselines.gate.findings import Finding
from stagegate_baselines.gate.junit import write_junit
from stagegate_baselines.gate.step_summary import add_to_step_summary
from stagegate_baselines.gate.summary import markdown_table, text_table
from stagegate_baselines.gate.verdict import Judgement, Reason
from stagegate_baselines.record_file import read_record
from stagegate_baselines.records import Record
from stagegate_baselines.records import TestOutcome as Outcome
from stagegate_baselines.states import Verdict
from stagegate_baselines.tables import show
from suites.baselines.any_text import ANY_TEXT, NASTY
from suites.baselines.sample_record import sample_record

in_one_folder = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def judgement(text: str) -> Judgement:
    return Judgement(text, text, Verdict.REGRESSED, Reason.RUN_INVALID, detail=text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;x\x07", r"\x1b]8;;x\x07"),
        ("a\x00b\x7f\x85", r"a\x00b\x7f\x85"),
        ("\ud83d \udc00", r"\ud83d \udc00"),
        ("a\ufffe\U0001ffff", r"a\ufffe\U0001ffff"),
        ("user\u202etxt.exe", r"user\u202etxt.exe"),
        ("one\r\ntwo\rthree\n\tfour", "one\ntwo\nthree\n\tfour"),
        ("说 é 👩\u200d💻 ]]> <b> |", "说 é 👩\u200d💻 ]]> <b> |"),
    ],
)
def test_printable(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert printable(expected) == expected


@given(ANY_TEXT)
def test_printable_text_keeps_its_printable_characters(text: str) -> None:
    plain = printable(text)
    plain.encode()
    assert not {unicodedata.category(character) for character in set(plain) - {"\n", "\t"}} & {
        "Cc",
        "Cs",
    }
    assert printable(plain) == plain
    if text.isprintable():
        assert plain == text


@in_one_folder
@given(ANY_TEXT)
def test_junit(tmp_path: Path, text: str) -> None:
    file = tmp_path / "junit.xml"
    write_junit(file, text, GateResult((judgement(text),), 3, failed_criteria=(text,)))
    suite = ET.parse(file).getroot()
    assert suite.get("name") == f"gate {printable(text)}"
    case, criterion = suite
    assert case.get("classname") == case.get("name") == printable(text)
    failure = case.find("failure")
    assert failure is not None
    assert failure.attrib["message"].endswith(f"({printable(text)})" if text else "nothing")
    assert criterion.get("classname") == printable(text)


@given(ANY_TEXT)
def test_findings(text: str) -> None:
    found = Finding.of(judgement(text))
    assert found == Finding.of(judgement(printable(text)))
    assert Finding.model_validate_json(found.model_dump_json()) == found


@given(ANY_TEXT)
def test_commands_of_a_workflow(text: str) -> None:
    message, title = github_message(text), github_property(text)
    assert not set(message) & set("\r\n")
    assert not set(title) & set("\r\n:,")
    # As the runner reads them.
    assert message.replace("%0A", "\n").replace("%25", "%") == printable(text)
    for code, character in (("%3A", ":"), ("%2C", ","), ("%0A", "\n"), ("%25", "%")):
        title = title.replace(code, character)
    assert title == one_line(text)


@in_one_folder
@given(ANY_TEXT)
def test_records(tmp_path: Path, text: str) -> None:
    sample = sample_record(rate=1.0)
    case = sample.cases[0].model_dump() | {"name": text, "params": {"p": text}, "invalid": [text]}
    outcome = {"test": text, "outcome": "failed", "seconds": 0.0, "reason": text}
    proof = {"criterion": "s0.one", "sentence": text, "state": "failed", "tests": [outcome]}
    record = Record.model_validate(sample.model_dump() | {"cases": [case], "evidence": [proof]})
    file = tmp_path / "record.json"
    file.write_text(json.dumps({"stagegate": record.model_dump(mode="json")}))
    read = read_record(file)
    assert read == record
    assert read.cases[0].name == read.cases[0].params["p"] == printable(text)
    assert read.evidence[0].tests[0].reason == printable(text)


@given(ANY_TEXT)
def test_what_a_run_records_can_be_read(text: str) -> None:
    reason = anonymous(text)
    outcome = Outcome(test=reason, outcome="failed", seconds=0.0, reason=reason)
    assert Outcome.model_validate_json(outcome.model_dump_json()) == outcome


@given(ANY_TEXT)
def test_the_gates_markdown(text: str) -> None:
    tokens = MarkdownIt().enable("table").parse(markdown_table([Finding.of(judgement(text))]))
    cells = [
        "".join(child.content for child in token.children or [])
        for token in tokens
        if token.type == "inline"
    ]
    assert len(cells) == 18
    assert cells[9:11] == [one_line(text)] * 2


@given(ANY_TEXT)
def test_tables_on_a_terminal(text: str) -> None:
    items = judgement(text), replace(judgement(text), case="b")
    lines = text_table([Finding.of(item) for item in items]).split("\n")
    assert len(lines) == 3
    assert all(line.encode() for line in lines)


@pytest.mark.parametrize("text", NASTY)
def test_tables_of_the_store(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    show("Records", ["name"], [[text], ["b"]])
    assert capsys.readouterr().out.split("\n") == ["name", one_line(text), "b", ""]


@pytest.mark.parametrize("text", NASTY)
def test_the_summary_of_a_step(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    add_to_step_summary(text)
    assert (tmp_path / "summary").read_text("utf-8") == f"{printable(text).rstrip()}\n\n"
