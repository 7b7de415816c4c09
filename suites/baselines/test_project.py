"""[tool.stagegate] is found, read and refused with what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagegate.config import ATTENTION_BACKENDS, KV_LAYOUTS
from stagegate_baselines.kinds import Kind
from stagegate_baselines.project import (
    ProjectError,
    SelfTest,
    command_line,
    find_project,
    load_project,
)
from stagegate_baselines.project_root import find_root
from stagegate_baselines.records import Better, MetricClass
from stagegate_harness.__main__ import main
from suites.adapter.options import DTYPES
from suites.baselines.conftest import ROOT


def write(root: Path, text: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "pyproject.toml").write_text(text)
    return root


def test_an_empty_table_has_defaults(tmp_path: Path) -> None:
    project = load_project(write(tmp_path, "[project]\nname = 'primes'\n[tool.stagegate]\n"))
    assert project.title == "primes"
    assert project.stages == tmp_path / "suites" / "stages.toml"
    assert project.suites == tmp_path / "suites"
    assert project.store == tmp_path / "baselines" / "store"
    assert project.out == tmp_path / "reports"
    assert project.written == ("baselines/store", "reports")
    assert (project.build, project.devices) == ((), {"cpu": "cpu"})
    assert (project.axes, project.metrics, project.self_test) == ({}, {}, None)


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = """
    [tool.stagegate]
    title = "Primes"
    stages = "tests/stages.toml"
    store = "/elsewhere/store"
    build = ["make", "python 'a file.py' {device}"]
    devices = ["cpu", "tpu"]
    [tool.stagegate.axes]
    layout = ["row", "column"]
    [tool.stagegate.metrics.primes_per_s]
    unit = "1/s"
    better = "higher"
    class = "throughput"
    floor = 2
    [tool.stagegate.self_test]
    cases = ["one", "two"]
    metrics = ["latency_us"]
    prepare = "make data"
    """
    project = load_project(write(tmp_path, text))
    assert project.suites == tmp_path / "tests"
    assert project.written == ("reports",)  # a store elsewhere is in no tree
    assert project.build == (("make",), ("python", "a file.py", "{device}"))
    assert project.devices == {"cpu": "cpu", "tpu": "tpu"}
    assert project.axes == {"layout": ("row", "column")}
    kind = Kind("1/s", Better.HIGHER, MetricClass.THROUGHPUT, floor=2.0)
    assert project.metrics == {"primes_per_s": kind}
    assert project.self_test == SelfTest(("one", "two"), ("latency_us",), (), ("make", "data"))
    moved = project.at(tmp_path / "tree")
    assert moved.stages == tmp_path / "tree" / "tests" / "stages.toml"
    assert moved.store == project.store


METRIC = "[tool.stagegate.metrics.m]\nunit = 's'\nbetter = 'lower'\nclass = 'latency-p50'\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.stagegate]\ntitel = 'x'", r"\[tool.stagegate\] has an unknown key 'titel'; known"),
        ("[tool.stagegate]\ntitle = 3", r"title in \[tool.stagegate\] is 3, and has to be text"),
        ("[tool]\nstagegate = 3", r"\[tool.stagegate\] is 3, and has to be a table"),
        ("[tool.stagegate]\nbuild = [1]", "build in .* has to be a command or a list of commands"),
        ("[tool.stagegate]\ndevices = []", "devices in .* a table of texts or a list of names"),
        ("[tool.stagegate.axes]\nlayout = 'x'", r"layout in \[tool.stagegate.axes\] is 'x', and"),
        ("[tool.stagegate.axes]\nkv-layout = ['x']", r"kv-layout in .* of a parameter of tests"),
        (METRIC.replace("unit", "unitt"), r"\[tool.stagegate.metrics.m\] has no unit"),
        (METRIC.replace("lower", "less"), "better in .* is 'less', .* one of higher, lower"),
        (METRIC.replace("latency-p50", "fast"), "class in .* one of kernel, throughput, latency"),
        (METRIC + "floor = '3'", "floor in .* is '3', and has to be a number"),
        (METRIC + "flor = 3", r"metrics.m\] has an unknown key 'flor'; known: unit, better, class"),
        ("[tool.stagegate.self_test]\ncases = ['a']\nmetrics = ['b']", "two names of cases"),
        ("[tool.other]", r"has no \[tool.stagegate\]\. \[tool.stagegate\] in pyproject.toml makes"),
        ("[tool", "is no TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ProjectError, match=words):
        load_project(write(tmp_path, text))


def test_the_nearest_project_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = write(tmp_path / "outer", "[tool.stagegate]")
    inner = write(outer / "inner", "[tool.stagegate]")
    other = write(outer / "other", "[tool.ruff]")
    (inner / "deep").mkdir()
    assert find_root(inner / "deep") == inner
    assert find_root(other) == outer
    assert find_root(tmp_path) is None
    monkeypatch.chdir(inner / "deep")
    assert find_project(None).root == inner
    assert find_project(outer).root == outer


def test_a_checkout_inside_a_project_is_no_part_of_it(tmp_path: Path) -> None:
    """As the tree of a base that a gate checks out, of a revision before it was a project."""
    outer = write(tmp_path / "outer", "[tool.stagegate]")
    inner = write(outer / "reports" / "gate" / "tree", "[tool.ruff]")
    (inner / ".git").write_text("gitdir: elsewhere")
    assert find_root(inner) is None


def test_a_command_outside_of_a_project_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["list"], ["gate", "stage0"], ["measure", "stage0"], ["report"]):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {tmp_path} lies in no project; --root names one.")
    assert main(["list", "--root", str(tmp_path)]) == 2
    assert "pyproject.toml cannot be read: No such file" in capsys.readouterr().err
    assert main(["schema"]) == 0


def test_a_command_is_filled_in() -> None:
    words = command_line(("sh", "-c", "{root}/x ${HOME} {stage}"), root="/r", stage="s")
    assert words == ["sh", "-c", "/r/x ${HOME} s"]


def test_the_axes_of_this_project_are_those_of_its_engine() -> None:
    axes = load_project(ROOT).axes
    assert set(axes["kv_layout"]) == set(KV_LAYOUTS)
    assert set(axes["attention_backend"]) == set(ATTENTION_BACKENDS)
    assert axes["dtype"] == DTYPES
