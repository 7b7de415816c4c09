"""Records of every past version are read; what no version wrote is refused by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from stagegate_baselines import upgrade
from stagegate_baselines.peers import peer_comparisons
from stagegate_baselines.record_file import json_schema, read_record
from stagegate_baselines.records import SCHEMA_VERSION, Better, MetricClass, Record
from stagegate_baselines.store import Store, StoreError
from suites.baselines.conftest import RECORDS, make_document


def test_there_is_a_file_of_every_version() -> None:
    assert len(upgrade.STEPS) == SCHEMA_VERSION
    versions = {f"version_{number}.json" for number in range(SCHEMA_VERSION + 1)}
    assert {path.name for path in RECORDS.glob("version_*.json")} == versions


@pytest.mark.parametrize("version", range(SCHEMA_VERSION + 1))
def test_every_version_is_read(version: int) -> None:
    path = RECORDS / f"version_{version}.json"
    before = path.read_bytes()
    record = read_record(path)
    assert record.schema_version == SCHEMA_VERSION
    assert [case.name for case in record.cases] == ["test_kv_layout[block]", "test_kv_layout[slot]"]
    for case in record.cases:
        assert case.suite == "offline"
        assert str(case.params["kv_layout"]) in case.name
        assert case.params["prompts"] == 2
        assert {len(metric.samples) for metric in case.metrics} == {3}
    assert path.read_bytes() == before


def test_version_0_means_what_it_meant() -> None:
    document = json.loads((RECORDS / "version_0.json").read_text())
    untouched = copy.deepcopy(document)
    record = Record.model_validate(upgrade.section_of(document))
    assert document == untouched
    block = record.cases[0]
    metrics = {metric.name: metric for metric in block.metrics}
    noted = document["benchmarks"][0]["extra_info"]["metrics"]
    assert {name: list(metric.samples) for name, metric in metrics.items()} == noted
    rate = metrics["tokens_per_sec"]
    assert (rate.unit, rate.better, rate.metric_class) == (
        "tok/s",
        Better.HIGHER,
        MetricClass.THROUGHPUT,
    )
    assert record.environment.num_threads == 1
    assert record.environment.git_revision == document["commit_info"]["id"]
    # Not recorded, and said so.
    assert (record.machine.memory_bytes, record.environment.compiler) == (0, "unknown")
    assert record.created == document["datetime"][:19] + "Z"
    # Work whose code is not known is the work of nobody else.
    current = read_record(RECORDS / "version_6.json")
    assert not {case.workload_hash for case in record.cases} & {
        case.workload_hash for case in current.cases
    }


def written(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "file.json"
    file.write_text(json.dumps(content))
    return file


def test_version_4_had_engines_in_the_names_of_metrics() -> None:
    document = json.loads((RECORDS / "version_4.json").read_text())
    [case, *_] = document["stagegate"]["cases"]
    [rate] = [metric for metric in case["metrics"] if metric["name"] == "tokens_per_sec"]
    theirs = {**rate, "name": "transformers_tok_s", "metric_class": "info", "samples": [1.0] * 3}
    ratio = {**rate, "name": "ratio", "unit": "1", "metric_class": "info"}
    case |= {
        "name": "test_decode[8]",
        "params": {"batch": 8},
        "metrics": [{**rate, "name": "stagegate_tok_s"}, theirs, ratio],
    }
    record = Record.model_validate(upgrade.section_of(document))
    ours, other, *_ = record.cases
    assert [found.name for found in (ours, other)] == [
        "test_decode[8]", "test_decode[8-transformers]",
    ]  # fmt: skip
    assert ours.params == {"batch": 8, "engine": "stagegate"}
    assert other.params == {"batch": 8, "engine": "transformers"}
    assert [metric.name for metric in (*ours.metrics, *other.metrics)] == ["tokens_per_sec"] * 2
    assert other.metrics[0].samples == (1.0, 1.0, 1.0)
    [found] = peer_comparisons(record)
    assert (found.case, found.peer) == (ours, other)


def test_version_5_had_shorter_names_of_axes() -> None:
    document = json.loads((RECORDS / "version_5.json").read_text())
    ours, another = document["stagegate"]["cases"]
    ours["params"] |= {"backend": "csr", "cache": "cold"}
    ours["setup"] = {"layout": "block", "version": "1"}
    # The harness serves other projects, whose axes may have these names.
    another["params"] = {"layout": "row", "backend": "opengl"}
    ours, another = Record.model_validate(upgrade.section_of(document)).cases
    assert (ours.params["kv_layout"], ours.params["attention_backend"]) == ("block", "csr")
    assert not {"layout", "backend"} & set(ours.params)
    assert ours.params["cache"] == "cold"
    assert ours.setup == {"kv_layout": "block", "version": "1"}
    assert another.params == {"layout": "row", "backend": "opengl"}


def test_the_store_keeps_what_was_upgraded(store: Store) -> None:
    record = read_record(RECORDS / "version_0.json")
    assert store.load(store.add(record, "old")) == record


@pytest.mark.parametrize("version", [7, 0, -1, "1", None, True, 1.0])
def test_a_version_nobody_wrote(tmp_path: Path, version: object) -> None:
    file = written(tmp_path, make_document(schema_version=version))
    with pytest.raises(StoreError, match=r"file\.json: holds no record: .*version"):
        read_record(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cases": 3}, r"stagegate\.cases: "),
        ({"machine_key": "xyz"}, r"stagegate\.machine_key: "),
        ({"created": "yesterday"}, r"stagegate\.created: "),
        ({"surprise": 1}, r"stagegate\.surprise: Extra inputs"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = written(tmp_path, make_document(**change))
    with pytest.raises(StoreError, match=rf"file\.json: holds no record: {message}"):
        read_record(file)


@pytest.mark.parametrize("missing", ["machine_info", "commit_info", "datetime", "version"])
def test_a_part_of_version_0_is_missing(tmp_path: Path, missing: str) -> None:
    document = json.loads((RECORDS / "version_0.json").read_text())
    del document[missing]
    with pytest.raises(StoreError, match=f"no whole record of version 0: .*{missing}"):
        read_record(written(tmp_path, document))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("\xff", "it is not JSON"),
        ("[]", "it is no object of JSON"),
        ('{"benchmarks": 1}', "has no section and no metrics"),
        ('{"benchmarks": [{"extra_info": {}}, {"extra_info": null}, 3]}', "has no section"),
        ('{"stagegate": 3}', "schema_version is None"),
    ],
)
def test_files_that_are_no_record(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match=rf"file\.json: holds no record: .*{message}"):
        read_record(file)


def test_numbers_are_finite(tmp_path: Path) -> None:
    file = written(tmp_path, make_document(rate=float("nan")))
    with pytest.raises(StoreError, match="finite number"):
        read_record(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none\.json: cannot be read: No such file"):
        read_record(tmp_path / "none.json")


def test_the_schema_changes_with_its_version() -> None:
    """Whoever changes a field writes a step and a file of the version before."""
    kept = json.loads((RECORDS / f"schema_{SCHEMA_VERSION}.json").read_text())
    assert json_schema() == kept
    assert set(kept["properties"]) == set(Record.model_fields)
