"""python -m baselines: what it prints, changes and answers with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from baselines import commands, fingerprint
from baselines.__main__ import main
from baselines.records import Machine
from baselines.store import Store
from suites.baselines.conftest import RECORDS, MakeDocument

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(store: Store, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["--store", str(store.root), *arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine of the records is this one."""
    machine = Machine.model_validate(
        json.loads((RECORDS / "version_1.json").read_text())["stagegate"]["machine"]
    )
    monkeypatch.setattr(fingerprint, "machine", lambda: machine)
    return machine


def test_from_a_file_to_a_baseline(run: Run, here: Machine, tmp_path: Path,
                                   document: MakeDocument) -> None:  # fmt: skip
    for second in range(3):
        (tmp_path / "run.json").write_text(json.dumps(document(second, rate=100.0 + 50 * second)))
        code, out, _ = run("add", str(tmp_path / "run.json"), "--label", f"run-{second}")
        assert code == 0
        assert out.endswith(f"/stage0/000{second + 1}_run-{second}.json\n")
    code, out, err = run("accept", "--why", "first", "0001")
    assert (code, err) == (0, "")
    assert re.search(r"/stage0: nothing -> 0001_run-0\.json$", out.strip())
    # All launches of the newest build, because none is named.
    code, out, _ = run("accept", "--why", "more launches", "--who", "Ada", "--stage", "stage0")
    assert code == 0
    assert "0001_run-0.json -> 0001_run-0.json 0002_run-1.json 0003_run-2.json" in out
    code, out, _ = run("list")
    assert code == 0
    assert out.count(" accepted\n") == 3
    code, out, _ = run("history")
    assert re.search(r"more launches", out)
    assert re.search(r"Ada", out)
    code, out, _ = run("history", "test_kv_layout[slot]")
    assert [line.split()[-1] for line in out.splitlines() if " tokens_per_sec " in line] == [
        "101",
        "151",
        "201",
    ]
    code, out, _ = run("diff", "0001", "0003")
    assert re.search(r"test_kv_layout\[slot\] +tokens_per_sec +101 +201 +\+99\.01 %", out)
    code, out, _ = run("accept", "--why", "the same")
    assert code == 2


def test_a_record_is_named_after_its_revision(run: Run) -> None:
    file = RECORDS / "version_1.json"
    revision = json.loads(file.read_text())["stagegate"]["environment"]["git_revision"]
    _, out, _ = run("add", str(file))
    assert out.endswith(f"/0001_{revision[:8]}.json\n")


def test_show_tells_all(run: Run, document: MakeDocument, store: Store) -> None:
    made = document()
    made["stagegate"]["cases"][0]["invalid"] = ["wrong tokens"]
    store.add(made, "run")
    code, out, _ = run("show", "0001")
    assert code == 0
    assert re.search(r"^cpu +\"AMD EPYC\"$", out, re.MULTILINE)
    assert re.search(r"^test_kv_layout\[slot\] +tokens_per_sec +101 +tok/s +3$", out, re.MULTILINE)
    assert "test_kv_layout[block] is invalid: wrong tokens" in out
    assert re.search(r"^s0\.baseline +proved ", out, re.MULTILINE)
    _, out, _ = run("list")
    assert out.rstrip().endswith(" invalid")


def test_an_invalid_record_is_not_accepted(run: Run, store: Store, document: MakeDocument) -> None:
    made = document()
    made["stagegate"]["cases"][0]["invalid"] = ["wrong tokens"]
    store.add(made, "run")
    code, _, err = run("accept", "0001", "--why", "fast")
    assert code == 1
    assert "test_kv_layout[block] is invalid: wrong tokens" in err
    assert not list(store.root.glob("*/*/accepted.json"))


def test_a_dirty_tree_takes_a_word_more(run: Run, store: Store, document: MakeDocument) -> None:
    made = document()
    environment = made["stagegate"]["environment"]
    environment["git_dirty"] = True
    made["stagegate"]["environment_key"] = fingerprint.digest(environment)
    store.add(made, "run")
    assert run("accept", "0001", "--why", "x")[0] == 1
    assert run("accept", "0001", "--why", "x", "--dirty")[0] == 0
    assert re.search(r" [0-9a-f]{8}\+ ", run("list")[1])


def test_records_of_another_machine_are_not_accepted_by_default(
    run: Run, here: Machine, monkeypatch: pytest.MonkeyPatch, store: Store, document: MakeDocument
) -> None:
    store.add(document(), "run")
    monkeypatch.setattr(
        fingerprint, "machine", lambda: here.model_copy(update={"physical_cores": 999})
    )
    code, _, err = run("accept", "--why", "x")
    assert code == 2
    assert "no record of this machine" in err


def test_prune_says_what_it_deletes(run: Run, store: Store, document: MakeDocument) -> None:
    for second in range(4):
        store.add(document(second), f"run-{second}")
    code, out, _ = run("prune", "--keep", "3")
    assert code == 0
    assert re.fullmatch(r"deleted [0-9a-f]{16}/stage0/0001_run-0\.json\n", out)
    assert len(store.entries()) == 3


def test_legacy_records_come_by_command(run: Run) -> None:
    code, out, _ = run("legacy")
    assert (code, len(out.splitlines())) == (0, 4)
    assert "time of day is not known" in run("show", "0002")[1]
    assert run("list")[1].count(" legacy\n") == 4


def test_the_schema_is_printed(run: Run) -> None:
    code, out, _ = run("schema")
    assert code == 0
    assert json.loads(out)["properties"]["schema_version"] == {
        "const": 1,
        "title": "Schema Version",
        "type": "integer",
    }


def test_an_empty_store(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert out.startswith("no records in ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "7"], 2, "no record '7'"),
        (["history", "test_none"], 2, "no record of case 'test_none'"),
        (["add", "/no/such/file.json"], 1, "cannot be read: No such file"),
        (["add", __file__], 1, "is not JSON"),
    ],
)
def test_errors_have_codes(run: Run, arguments: list[str], code: int, message: str) -> None:
    got, out, err = run(*arguments)
    assert (got, out) == (code, "")
    assert err.startswith("error: ")
    assert message in err


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["accept"], ["prune", "--keep", "0"], ["prune"], ["show"]]
)
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2


def test_a_damaged_file_is_red(run: Run, store: Store, document: MakeDocument) -> None:
    entry = store.add(document(), "run")
    entry.path.write_bytes(entry.path.read_bytes()[:-10])
    for arguments in (["list"], ["show", "0001"], ["accept", "0001", "--why", "x"]):
        code, _, err = run(*arguments)
        assert code == 1
        assert "git checkout" in err


def test_a_terminal_gets_a_table(
    store: Store, document: MakeDocument, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    store.add(document(), "run")
    monkeypatch.setattr(commands.tables.sys.stdout, "isatty", lambda: True)
    assert main(["--store", str(store.root), "show", "0001"]) == 0
    out = capsys.readouterr().out
    assert "test_kv_layout[slot]" in out  # brackets are no markup
    assert "│" in out
