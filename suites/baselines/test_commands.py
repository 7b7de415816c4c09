"""stagegate-harness: what it prints, changes and answers with."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stagegate_baselines import fingerprint
from stagegate_baselines.records import SCHEMA_VERSION, Machine, Record
from stagegate_baselines.store import Store
from stagegate_harness.__main__ import main
from suites.adapter import legacy
from suites.baselines.conftest import RECORDS, make_document, make_record

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


def test_from_a_file_to_a_baseline(run: Run, here: Machine, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    names = []
    for second in range(3):
        file.write_text(json.dumps(make_document(second, rate=100.0 + 50 * second)))
        code, out, _ = run("add", str(file), "--label", f"run-{second}")
        assert code == 0
        names.append(out.strip())
    code, out, err = run("accept", "--why", "first", names[0])
    assert (code, err) == (0, "")
    assert out == f"nothing -> {names[0]}\n"
    # The newest of this machine, because none is named.
    code, out, _ = run("accept", "--why", "faster", "--who", "Ada", "--stage", "stage0")
    assert code == 0
    assert out == f"{names[0]} -> {names[2]}\n"
    assert run("accept", "--why", "the same")[0] == 2
    code, _, err = run("accept", "run-2", "--why", "the same")
    assert code == 1
    assert f"{names[2]} is the baseline already" in err
    code, out, _ = run("list")
    assert code == 0
    assert [line[0] for line in out.splitlines()] == ["*", " ", " ", "*"]
    code, out, _ = run("history")
    assert re.search(rf" nothing +{names[0]} +- +first\n", out)
    assert re.search(rf"{names[0]} +{names[2]} +Ada +faster\n", out)
    code, out, _ = run("history", "test_kv_layout[slot]")
    assert [line.split()[-1] for line in out.splitlines() if " tokens_per_sec " in line] == [
        "101",
        "151",
        "201",
    ]
    code, out, _ = run("diff", "run-0", names[2])
    assert re.search(r"test_kv_layout\[slot\] +tokens_per_sec +101 +201 +\+99\.0 %, better\n", out)
    assert re.search(r"test_kv_layout\[slot\] +completion_tokens +\S+ +\S+ +0\.0 %\n", out)
    assert "differences" not in out
    out = run("diff", names[2], "run-0")[1]
    assert re.search(r"test_kv_layout\[slot\] +tokens_per_sec +201 +101 +-49\.8 %, worse\n", out)


def test_one_run_counts_once(run: Run, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(make_document()))
    assert run("add", str(file), "--label", "first")[0] == 0
    code, _, err = run("add", str(file), "--label", "second")
    assert code == 1
    assert re.search(r"is in the store already, as [0-9a-f]{16}/stage0/\w{12} first$", err.strip())
    assert len(store.entries()) == 1


def test_differences_of_software_are_told(run: Run, store: Store) -> None:
    environment = make_record().environment
    other = environment.model_copy(update={"compiler": "Clang 99"})
    store.add(make_record(0), "old")
    store.add(make_record(1, environment=other.model_dump()), "new")
    out = run("diff", "old", "new")[1]
    assert re.search(r'^compiler +"GNU 12\.2\.0" +"Clang 99"$', out, re.MULTILINE)


def test_a_record_is_named_after_its_revision(run: Run) -> None:
    file = RECORDS / "version_1.json"
    revision = json.loads(file.read_text())["stagegate"]["environment"]["git_revision"]
    _, out, _ = run("add", str(file))
    assert re.search(r"/stage0/[0-9a-f]{12}\n$", out)
    assert run("show", revision[:8])[0] == 0


def invalid_record() -> Record:
    document = make_document()
    document["stagegate"]["cases"][0]["invalid"] = ["wrong tokens"]
    return Record.model_validate(document["stagegate"])


def test_show_tells_all(run: Run, store: Store) -> None:
    store.add(invalid_record(), "run")
    code, out, _ = run("show", "run")
    assert code == 0
    assert re.search(r"^cpu +\"AMD EPYC\"$", out, re.MULTILINE)
    assert re.search(r"^test_kv_layout\[slot\] +tokens_per_sec +101 +tok/s +3$", out, re.MULTILINE)
    assert "test_kv_layout[block] is invalid: wrong tokens" in out
    assert re.search(r"^s0\.baseline +proved ", out, re.MULTILINE)
    assert Record.model_validate_json(run("show", "run", "--json")[1]) == invalid_record()
    assert run("list")[1].rstrip().endswith(" test_kv_layout[block] is invalid: wrong tokens")


FAILED = {"criterion": "s0.one", "sentence": "one works", "state": "failed", "tests": []}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (invalid_record(), r"test_kv_layout\[block\] is invalid: wrong tokens"),
        (make_record(evidence=[FAILED]), r"s0\.one failed: one works"),
        (make_record(interrupted="stopping after 1 failures"), r"its run ended early: stopping"),
        (make_record(cases=[]), "it has no benchmark"),
        (make_record(legacy="from a note"), "it is a legacy record"),
    ],
)
def test_what_cannot_be_a_baseline(run: Run, store: Store, record: Record, reason: str) -> None:
    store.add(make_record(), "good")
    store.add(record, "bad")
    code, _, err = run("accept", "bad", "--why", "fast")
    assert code == 1
    assert re.search(rf"/stage0/[0-9a-f]{{12}} cannot be a baseline: {reason}", err)
    assert store.accepted(record.machine_key, "stage0") is None
    assert run("accept", "good", "--why", "fast")[0] == 0


def test_a_dirty_tree_takes_a_word_more(run: Run, store: Store) -> None:
    environment = make_record().environment.model_copy(update={"git_dirty": True})
    store.add(make_record(environment=environment.model_dump()), "run")
    assert run("accept", "run", "--why", "x")[0] == 1
    assert run("accept", "run", "--why", "x", "--dirty")[0] == 0
    assert re.search(r" [0-9a-f]{8}\+ ", run("list")[1])


def test_records_of_another_machine_are_not_accepted_by_default(
    run: Run, here: Machine, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    store.add(make_record(), "run")
    monkeypatch.setattr(
        fingerprint, "machine", lambda: here.model_copy(update={"physical_cores": 999})
    )
    code, _, err = run("accept", "--why", "x")
    assert code == 2
    assert "no record of this machine" in err


def test_prune_says_what_it_deletes(run: Run, store: Store) -> None:
    for second in range(4):
        store.add(make_record(second), f"run-{second}")
    code, out, _ = run("prune", "--keep", "3")
    assert code == 0
    assert re.fullmatch(r"deleted [0-9a-f]{16}/stage0/[0-9a-f]{12} run-0\n", out)
    assert len(store.entries()) == 3


def test_legacy_records_are_shown(run: Run, store: Store) -> None:
    assert len(legacy.add_to(store)) == 4
    assert "time of day is not known" in run("show", "legacy-block-1")[1]
    assert run("list")[1].count("it is a legacy record") == 4


def test_the_schema_is_printed(run: Run) -> None:
    code, out, _ = run("schema")
    assert code == 0
    assert json.loads(out)["properties"]["schema_version"] == {
        "const": SCHEMA_VERSION,
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
        (["show", "7"], 2, "no record 7"),
        (["history", "test_none"], 2, "no record of case test_none"),
        (["add", "/no/such/file.json"], 1, "cannot be read: No such file"),
        (["add", __file__], 1, "it is not JSON"),
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


def test_a_damaged_file_is_red(run: Run, store: Store) -> None:
    entry = store.add(make_record(), "run")
    entry.path.write_bytes(entry.path.read_bytes()[:-10])
    for arguments in (["list"], ["show", "run"], ["accept", "run", "--why", "x"]):
        code, _, err = run(*arguments)
        assert code == 1
        assert "restore it from version control" in err


def test_a_terminal_gets_a_table(
    store: Store, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    store.add(make_record(), "run")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["--store", str(store.root), "show", "run"]) == 0
    out = capsys.readouterr().out
    assert "test_kv_layout[slot]" in out  # brackets are no markup
    assert "│" in out


def test_a_baseline_is_not_cut_down_without_a_word(run: Run, store: Store) -> None:
    whole = make_record()
    store.accept(store.add(whole, "whole"), why="first")
    store.add(make_record(1, cases=[whole.cases[0].model_dump(mode="json")]), "part")
    code, _, err = run("accept", "part", "--why", "quick")
    assert code == 1
    assert "lacks 1 cases of the present baseline: test_kv_layout[slot]; measure them too" in err
    assert run("accept", "part", "--why", "quick", "--fewer-cases")[0] == 0


def test_accept_says_what_the_baseline_cannot_see(run: Run, store: Store) -> None:
    for number, rate in enumerate((100.0, 140.0, 90.0, 120.0, 70.0)):
        store.add(make_record(number, rate=rate).model_copy(update={"launch": number}), "noisy")
    code, out, _ = run("accept", "noisy", "--why", "first")
    assert code == 0
    [line] = [
        line
        for line in out.splitlines()
        if re.match(r"test_kv_layout\[slot\] +tokens_per_sec", line)
    ]
    deviation, least = (float(share) for share in re.findall(r"([0-9.]+) %", line)[:2])
    assert 20 < deviation < 35
    assert least > deviation
    assert line.endswith("the floor is 3 %: measure on a quieter host")


def test_a_store_of_numbers_is_repaired_by_command(run: Run, store: Store) -> None:
    assert run("repair") == (0, "nothing to repair\n", "")
    folder = store.add(make_record(), "run").folder
    (folder / "0001_old.json").write_text("{}")
    code, _, err = run("list")
    assert code == 1
    assert "run `stagegate-harness repair`" in err
    code, _, err = run("repair")
    assert code == 1
    assert "0001_old.json: damaged or edited" in err
