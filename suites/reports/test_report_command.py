"""stagegate-harness report and the files it reads."""

from __future__ import annotations

import json
import webbrowser
from base64 import b64encode
from pathlib import Path

import pytest

from stagegate_baselines.gate.findings import Finding, Revision, Verdicts, write_verdicts
from stagegate_baselines.gate.verdict import Comparison, Reason
from stagegate_baselines.record_file import pictures_of
from stagegate_baselines.records import Better, Record
from stagegate_baselines.states import Verdict
from stagegate_baselines.store import Store
from stagegate_harness.__main__ import main
from stagegate_reports.command import show
from stagegate_reports.files import ReportInputError, load_gate, load_plans
from suites.reports.page import Page
from suites.reports.sample_records import Sample


def report(arguments: list[str]) -> int:
    return main(["report", *arguments])


def write(path: Path, record: Record) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"benchmarks": [], "stagegate": record.model_dump(mode="json")}))
    return path


@pytest.fixture
def gate_folder(tmp_path: Path, records: Sample) -> Path:
    """What a gate leaves: the launches of both sides and one verdict."""
    folder = tmp_path / "gate"
    base = records.history["stage0"][-1].launches
    for number, record in enumerate(base):
        write(folder / f"base-{number:02}.json", record)
    for number, record in enumerate(records.records[:3]):
        write(folder / f"new-{number:02}.json", record)
    finding = Finding(
        case=records.records[0].cases[0].name, metric="tokens_per_sec", verdict=Verdict.REGRESSED,
        reason=Reason.WORSE_BEYOND_MARGIN, unit="tok/s", better=Better.HIGHER,
        base_median=400.0, new_median=200.0, change=-0.5, interval=(-0.52, -0.48),
        margin=(-0.03, 0.031), launches=3,
    )  # fmt: skip
    side = Revision(name="v1", revision="c" * 40, dirty=False)
    verdicts = Verdicts(
        stage="stage0", comparison=Comparison.PAIRED, base=side, new=side,
        machine_key=base[0].machine_key, machine=base[0].machine, exit_code=1, launches=3,
        seconds=60.0, out_of_time=False, failed_criteria=(), judgements=(finding,),
    )  # fmt: skip
    write_verdicts(folder / "verdict.json", verdicts)
    return folder


def test_writes_three_files(
    tmp_path: Path, records: Sample, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "stage0.json", records.records[0])
    out = tmp_path / "deep" / "out"
    assert report([str(file), "--out", str(out), "--store", str(tmp_path / "store")]) == 0
    assert capsys.readouterr().out.strip() == str(out / "report.html")
    assert {path.name for path in out.iterdir()} == {"report.html", "report.md", "report.csv"}
    assert "1 of 8 stages passed and 7 open." in (out / "report.html").read_text("utf-8")
    assert b"\r\n" in (out / "report.csv").read_bytes()


def test_what_a_killed_run_left_is_passed_over(tmp_path: Path, records: Sample) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.stagegate]\ntitle = 'Prime & numbers'\n")
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "stages.toml").write_text("[stage0]\ntitle = 'One'\ncriteria = {}\n")
    write(tmp_path / "reports" / "stage0.json", records.records[0])
    (tmp_path / "reports" / "soak.json").touch()
    assert report(["--root", str(tmp_path)]) == 0
    assert "# Prime \\& numbers: All 1 stage passed." in (
        tmp_path / "reports" / "report.md"
    ).read_text("utf-8")
    page = (tmp_path / "reports" / "report.html").read_text("utf-8")
    assert "<title>Prime &amp; numbers: " in page


def test_takes_records_of_the_store(tmp_path: Path, records: Sample) -> None:
    """By the names its own commands give them, or by path."""
    store = Store(tmp_path / "store")
    entries = [store.add(record, "v1") for record in records.records[:2]]
    pages = []
    for names in (
        [entry.name for entry in entries],
        [str(entry.path) for entry in entries],
        [str(write(tmp_path / f"{i}.json", records.records[i])) for i in range(2)],
    ):
        assert report([*names, "--out", str(tmp_path), "--store", str(store.root)]) == 0
        pages.append((tmp_path / "report.md").read_text("utf-8"))
    assert pages[0] == pages[1] == pages[2]


def test_screenshots_beside_a_record_are_in_the_page(tmp_path: Path, records: Sample) -> None:
    file = write(tmp_path / "stage0.json", records.records[0])
    folder = pictures_of(file)
    folder.mkdir()
    for name in ("chat-page-phone", "chat-page-desktop"):
        (folder / f"{name}.png").write_bytes(name.encode())
    assert report([str(file), "--out", str(tmp_path), "--store", str(tmp_path / "store")]) == 0
    page = Page(text := (tmp_path / "report.html").read_text("utf-8"))
    images = [image.attributes for image in page.root.all("img")]
    shown = [(image["alt"], image["src"]) for image in images]
    assert shown == [
        (caption, f"data:image/png;base64,{b64encode(content).decode()}")
        for caption, content in (
            ("chat page desktop", b"chat-page-desktop"),
            ("chat page phone", b"chat-page-phone"),
        )
    ]
    assert "2 screenshots" in text


def test_open_shows_the_page(
    tmp_path: Path, records: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(webbrowser, "open", shown.append)
    file = write(tmp_path / "stage0.json", records.records[0])
    report([str(file), "--out", str(tmp_path), "--store", str(tmp_path / "store"), "--open"])
    assert shown == [(tmp_path / "report.html").as_uri()]


def test_history_comes_from_what_was_accepted(tmp_path: Path, records: Sample) -> None:
    store = Store(tmp_path / "store")
    past = records.history["stage0"]
    entries = [store.add(version.launches[0], f"v{n}") for n, version in enumerate(past[:4])]
    for entry in (entries[1], entries[3]):
        store.accept(entry, why="a test")
    file = write(tmp_path / "stage0.json", records.records[0])
    assert report([str(file), "--out", str(tmp_path), "--store", str(store.root)]) == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    for entry in entries:
        shown = f"{entry.label} {entry.digest}" in page
        assert shown == (entry in (entries[1], entries[3]))


def test_a_gate_brings_launches_verdicts_and_its_base(tmp_path: Path, gate_folder: Path) -> None:
    store = str(tmp_path / "store")
    file = str(gate_folder / "new-00.json")
    assert report(["--gate", str(gate_folder), "--out", str(tmp_path), "--store", store, file]) == 0
    text = (tmp_path / "report.md").read_text("utf-8")
    assert "✗ regressed" in text
    assert "| 200 tok/s | 400 tok/s | −50.0 %, worse | −52.0 % to −48.0 % |" in text
    assert "3 launches a side of the gate against v1" in text
    assert "Environment, against base" in (tmp_path / "report.html").read_text("utf-8")


def test_launches_of_a_gate_prove_no_criterion(gate_folder: Path) -> None:
    run = load_gate(gate_folder)
    assert run.stage == "stage0"
    assert len(run.new) == 3
    assert all(record.evidence == () for record in run.new)


def test_folders_that_no_gate_left(tmp_path: Path, gate_folder: Path, records: Sample) -> None:
    with pytest.raises(ReportInputError, match=r"verdict\.json: cannot be read: No such file"):
        load_gate(tmp_path)
    whole = (gate_folder / "verdict.json").read_text()
    for broken in ('{"judgements": [{"case": 1}]}', "[]", whole.replace("regressed", "fine")):
        (gate_folder / "verdict.json").write_text(broken)
        with pytest.raises(ReportInputError, match="not the verdicts of a gate of this version"):
            load_gate(gate_folder)
    (gate_folder / "verdict.json").write_text(whole)
    write(gate_folder / "new-09.json", records.records[-1])
    with pytest.raises(ReportInputError, match="of one stage"):
        load_gate(gate_folder)


@pytest.mark.parametrize("content", ["", "[]", '{"benchmarks": []}', '{"stagegate": {}}'])
def test_other_files_are_refused_by_name(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    assert report([str(file), "--out", str(tmp_path / "out")]) == 1
    assert str(file) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_plans_are_those_of_the_suites() -> None:
    plans = load_plans(Path(__file__).parents[1] / "stages.toml")
    assert [plan.name for plan in plans] == [f"stage{number}" for number in range(8)]
    assert all(plan.criteria for plan in plans)


def test_a_missing_browser_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    show(tmp_path / "report.html")
    assert f"open {tmp_path / 'report.html'} yourself" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_named(
    tmp_path: Path, records: Sample, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "stage0.json", records.records[0])
    arguments = [str(file), "--out", str(file / "out"), "--store", str(tmp_path / "store")]
    assert report(arguments) == 1
    assert capsys.readouterr().err == (
        f"error: {file / 'out'}: Not a directory; --out names another folder\n"
    )
