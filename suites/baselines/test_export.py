"""Stored records for pytest-benchmark's own command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stagegate_baselines.records import Metric, MetricClass
from stagegate_baselines.store import Store
from stagegate_harness.__main__ import main
from suites.baselines.sample_record import sample_record


def added(store: Store, label: str, rates: list[float], unit: str = "tok/s") -> None:
    """A set of launches, two rounds each, with a count beside the metric."""
    for number, rate in enumerate(rates):
        record = sample_record(rate=rate)
        [case] = record.cases
        [metric] = case.metrics
        count = metric.model_copy(
            update={"name": "requests", "unit": "1", "metric_class": MetricClass.INFO}
        )
        metrics = (metric.model_copy(update={"unit": unit}), count)
        cases = (case.model_copy(update={"metrics": metrics}),)
        store.add(record.model_copy(update={"launch": number, "cases": cases}), label)


def exported(store: Store, label: str, file: Path) -> dict[str, Any]:
    assert main(["--store", str(store.root), "export", label, str(file)]) == 0
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def compare(folder: Path, *files: Path) -> str:
    command = [sys.executable, "-m", "pytest_benchmark", "compare", *map(str, files)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert "Failed to load" not in done.stdout + done.stderr
    return done.stdout


def test_pytest_benchmark_ranks_the_faster_set_first(store: Store, tmp_path: Path) -> None:
    added(store, "slow", [100.0, 101.0])
    added(store, "fast", [200.0, 202.0])
    files = [tmp_path / "slow.json", tmp_path / "fast.json"]
    for file in files:
        exported(store, file.stem, file)
    table = compare(tmp_path, *files)
    rows = [line for line in table.splitlines() if line.startswith("test_case[block]")]
    assert [found[1][-4:] for row in rows if (found := re.search(r"\((.*?)\)", row))] == [
        "fast",
        "slow",
    ]
    # Two launches of two rounds; a rate is the operations a second.
    assert [row.split()[-2:] for row in rows] == [["4", "1"]] * 2
    assert re.search(r"\b20[01]\.\d+ \(1\.0\)", rows[0])


@pytest.mark.parametrize(
    ("unit", "value", "seconds"),
    [
        ("s", 2.0, 2.0), ("ms", 2.0, 2e-3), ("us", 2.0, 2e-6), ("ns", 2.0, 2e-9),
        ("tok/s", 4.0, 0.25), ("req/s", 0.5, 2.0), ("GFLOP/s", 10.0, 0.1),
    ],
)  # fmt: skip
def test_rounds_are_seconds(
    store: Store, tmp_path: Path, unit: str, value: float, seconds: float
) -> None:
    added(store, "run", [value], unit)
    [benchmark] = exported(store, "run", tmp_path / "out.json")["benchmarks"]
    assert benchmark["stats"]["data"][0] == pytest.approx(seconds)
    assert benchmark["stats"]["rounds"] == 2


def test_what_has_no_seconds_is_named(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    added(store, "run", [1.0])
    content = exported(store, "run", tmp_path / "out.json")
    assert [item["name"] for item in content["benchmarks"]] == ["test_case[block] tokens_per_sec"]
    assert capsys.readouterr().err == "left out, no positive times or rates: requests\n"
    added(store, "counts", [2.0], "bytes")
    arguments = ["--store", str(store.root), "export", "counts", str(tmp_path / "none.json")]
    assert main(arguments) == 1
    assert "has no metric that is a time or a rate" in capsys.readouterr().err
    assert not (tmp_path / "none.json").exists()


def test_rounds_that_gave_nothing_are_none(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = sample_record()
    [case] = record.cases
    empty: Metric = case.metrics[0].model_copy(update={"name": "empty", "samples": (None, 0.0)})
    cases = (case.model_copy(update={"metrics": (*case.metrics, empty)}),)
    store.add(record.model_copy(update={"cases": cases}), "run")
    content = exported(store, "run", tmp_path / "out.json")
    assert len(content["benchmarks"]) == 1
    assert "rates: empty" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    added(store, "run", [1.0])
    file = tmp_path / "none" / "out.json"
    assert main(["--store", str(store.root), "export", "run", str(file)]) == 1
    assert f"{file}: cannot be written: No such file" in capsys.readouterr().err
