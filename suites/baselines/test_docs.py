"""Commands of the docs do what the docs say, on the store as it is committed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from stagegate_baselines.gate.findings import Finding, Revision, Verdicts
from stagegate_baselines.gate.verdict import CLASS_FLOORS, Reason
from stagegate_baselines.states import Verdict
from stagegate_baselines.store import Store
from stagegate_harness.__main__ import main

DOCS = Path(__file__).parents[2] / "docs"
GATE = (DOCS / "gate.md").read_text("utf-8")
READ_ONLY = ("list", "show", "diff", "history", "peers", "export", "schema")


def commands(text: str, session: str) -> list[list[str]]:
    """The arguments of every call of a session in the blocks of a page."""
    found = []
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith(f"nox -s {session} -- "):
                found.append(shlex.split(line, comments=True)[4:])
    return found


EXAMPLES = [words for words in commands(GATE, "baseline") if words[0] in READ_ONLY]


def test_the_page_has_an_example_of_what_reads_the_store() -> None:
    assert {words[0] for words in EXAMPLES} == set(READ_ONLY) - {"schema"}


@pytest.mark.parametrize("words", EXAMPLES, ids=" ".join)
def test_an_example_runs_on_the_committed_store(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "reports" / "out").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert main(["--root", str(DOCS.parent), *words]) == 0
    # Where nothing is accepted, the history of that is its heading alone.
    least = 1 if words[0] == "export" or words == ["history"] else 2
    assert len(capsys.readouterr().out.splitlines()) >= least


def test_the_report_of_the_h200_is_of_records_that_are_there() -> None:
    [names] = commands((DOCS / "h200.md").read_text("utf-8"), "report")
    store = Store(DOCS.parent / "baselines" / "store")
    entries = [store.find(name) for name in names]
    assert len(set(entries)) == len(names)
    assert {entry.label for entry in entries} == {"h200"}
    records = [store.load(entry) for entry in entries]
    # The revision that the page's first heading is about.
    assert {(record.environment.git_revision or "")[:7] for record in records} == {"b51dc99"}
    assert sorted({record.stage or "none" for record in records}) == [
        f"stage{n}" for n in range(1, 6)
    ]


def test_the_page_names_every_verdict_and_floor() -> None:
    for verdict in Verdict:
        assert re.search(rf"^\| {verdict.value} \|", GATE, re.MULTILINE), verdict
    assert Reason.HOST_DISTURBED.value in GATE
    assert Reason.DEVICE_DISTURBED.value in GATE
    floors = sorted(re.findall(r"^\| [a-z0-9, ]+ \| (\d+) % \|$", GATE, re.MULTILINE), key=int)
    assert floors == [str(n) for n in sorted({round(100 * f) for f in CLASS_FLOORS.values()})]


def test_the_page_names_every_field_of_the_verdicts() -> None:
    described = GATE.partition("`verdict.json` has")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([a-z_]+)`", described))
    fields = {*Verdicts.model_fields, *Finding.model_fields, *Revision.model_fields}
    assert fields - {"machine", "machine_key"} <= named
