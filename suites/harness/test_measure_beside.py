"""What another engine gave in the rounds of a case is a case beside it."""

from __future__ import annotations

import pytest

from stagegate_baselines.peers import peer_comparisons
from stagegate_baselines.record_file import read_record
from stagegate_baselines.records import MetricClass
from suites.harness.conftest import Project

BESIDE = """
@pytest.mark.parametrize("batch", [8])
def test_decode(measure, batch):
    theirs = {}
    def run(index):
        theirs[index] = 100.0 + index
        return {"tokens_per_sec": 2 * theirs[index]}
    samples = measure(run, workload={"engine": "stagegate"})
    rates = [theirs[index] for index in range(len(samples["tokens_per_sec"]))]
    measure.beside("other", {"tokens_per_sec": rates}, {"version": "1.2"})
    assert PASSES
"""


def test_it_differs_in_the_engine_alone(project: Project) -> None:
    project.add_test("core/test_bench.py", BESIDE.replace("PASSES", "True"))
    done = project.run_process()
    assert done.returncode == 0, done.stdout
    record = read_record(project.path / "record.json")
    ours, theirs = record.cases
    assert (ours.name, theirs.name) == ("test_decode[8]", "test_decode[8-other]")
    assert {**ours.params, "engine": "other"} == theirs.params
    assert (ours.workload_hash, theirs.setup) == (theirs.workload_hash, {"version": "1.2"})
    # No gate judges another engine.
    assert [metric.metric_class for metric in theirs.metrics] == [MetricClass.INFO]
    [found] = peer_comparisons(record)
    assert found.gain is not None
    assert found.gain.ratio == pytest.approx(2.0)


def test_a_failure_makes_both_invalid(project: Project) -> None:
    project.add_test("core/test_bench.py", BESIDE.replace("PASSES", "False"))
    assert project.run_process().returncode == pytest.ExitCode.TESTS_FAILED
    record = read_record(project.path / "record.json")
    assert len(record.cases) == 2
    assert all("the test failed" in case.invalid[0] for case in record.cases)
    [found] = peer_comparisons(record)
    assert found.gain is None
