"""Records of every past version are read; what no version wrote is refused by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from baselines import schema, upgrade
from baselines.errors import RecordError
from baselines.records import SCHEMA_VERSION, Better, MetricClass, Record
from suites.baselines.conftest import RECORDS, MakeDocument


def test_there_is_a_file_of_every_version() -> None:
    assert len(upgrade.STEPS) == SCHEMA_VERSION
    versions = {f"version_{number}.json" for number in range(SCHEMA_VERSION + 1)}
    assert {path.name for path in RECORDS.glob("version_*.json")} == versions


@pytest.mark.parametrize("version", range(SCHEMA_VERSION + 1))
def test_every_version_is_read(version: int) -> None:
    path = RECORDS / f"version_{version}.json"
    before = path.read_bytes()
    record = schema.read_record(path)
    assert record.schema_version == SCHEMA_VERSION
    assert [case.name for case in record.cases] == ["test_kv_layout[block]", "test_kv_layout[slot]"]
    for case in record.cases:
        assert case.suite == "offline"
        assert case.params["layout"] in case.name
        assert case.params["prompts"] == 2
        assert {len(metric.samples) for metric in case.metrics} == {3}
    assert path.read_bytes() == before


def test_version_0_means_what_it_meant() -> None:
    document = schema.read_document(RECORDS / "version_0.json")
    untouched = copy.deepcopy(document)
    record = schema.record_of(document, "it")
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
    current = schema.read_record(RECORDS / "version_1.json")
    assert not {case.workload_hash for case in record.cases} & {
        case.workload_hash for case in current.cases
    }


def test_a_record_survives_being_written_and_read() -> None:
    record = schema.read_record(RECORDS / "version_1.json")
    assert schema.record_of(schema.document_of(record), "it") == record


@pytest.mark.parametrize("version", [2, 0, -1, "1", None, True, 1.0])
def test_a_version_nobody_wrote(document: MakeDocument, version: object) -> None:
    wrong = document(schema_version=version)
    with pytest.raises(RecordError, match=r"^it: .*version"):
        schema.record_of(wrong, "it")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cases": 3}, r"it: stagegate\.cases: "),
        ({"machine_key": "xyz"}, r"it: stagegate\.machine_key: "),
        ({"environment_key": "0" * 16}, "it: environment_key is not the digest of its block"),
        ({"created": "yesterday"}, r"it: stagegate\.created: "),
        ({"surprise": 1}, r"it: stagegate\.surprise: Extra inputs"),
    ],
)
def test_a_wrong_field_is_named(
    document: MakeDocument, change: dict[str, object], message: str
) -> None:
    with pytest.raises(RecordError, match=message):
        schema.record_of(document(**change), "it")


@pytest.mark.parametrize("missing", ["machine_info", "commit_info", "datetime", "version"])
def test_a_part_of_version_0_is_missing(missing: str) -> None:
    document = schema.read_document(RECORDS / "version_0.json")
    del document[missing]
    with pytest.raises(RecordError, match=f"no whole record of version 0: .*{missing}"):
        schema.record_of(document, "it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is no pytest-benchmark file"),
        ('{"benchmarks": 1}', "is no pytest-benchmark file"),
        ('{"benchmarks": [NaN]}', "NaN is no number of JSON"),
        ("\xff", "is not JSON"),
    ],
)
def test_files_that_are_no_record(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(RecordError, match=rf"file\.json: {message}|{message}"):
        schema.read_document(file)


def test_a_plain_benchmark_file_has_no_record(tmp_path: Path) -> None:
    file = tmp_path / "plain.json"
    file.write_text('{"benchmarks": [{"extra_info": {}}]}')
    with pytest.raises(RecordError, match=r"plain\.json: has no record; only runs with"):
        schema.read_record(file)
    with pytest.raises(RecordError, match="cannot be read: No such file"):
        schema.read_record(tmp_path / "none.json")


def test_the_schema_changes_with_its_version() -> None:
    """Whoever changes a field writes a step and a file of the version before."""
    kept = json.loads((RECORDS / f"schema_{SCHEMA_VERSION}.json").read_text())
    assert schema.json_schema() == kept
    assert set(kept["properties"]) == set(Record.model_fields)
