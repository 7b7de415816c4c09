"""What is wrong with a benchmark is said in a line, and costs no other test."""

from __future__ import annotations

import json

import pytest

from stagegate_baselines.project import load_project
from stagegate_baselines.record_file import read_record
from stagegate_harness.stages import load_stages
from suites.harness.conftest import Project
from suites.harness.test_stages import write_stages

MEASURES = """
def test_measured(measure):
    measure(lambda index: {"seconds": 1.0})
"""


@pytest.mark.parametrize("place", ["bench/test_bench.py", "test_bench.py"])
def test_a_benchmark_outside_the_suites_is_one_failed_test(project: Project, place: str) -> None:
    project.add_test(f"../{place}", MEASURES + "def test_other(): pass\n")
    project.add_test("core/test_inside.py", MEASURES)
    done = project.run_process(place, "suites/core")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert f"uses `measure` and lies outside {project.path / 'suites'}" in done.stdout
    assert "2 passed, 1 error in" in done.stdout
    [case] = read_record(project.path / "record.json").cases
    assert case.suite == "core"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            "{'sums_per_sec': 1.0}",
            "metric 'sums_per_sec' is not declared: add [tool.stagegate.",
        ),
        ("{'seconds': float('nan')}", "metric 'seconds' is nan; a round that could not give it"),
        ("{'seconds': float('inf')}", "metric 'seconds' is inf; a round that could not give it"),
        ("{'seconds': '1.0'}", "metric 'seconds' is '1.0', and has to be a number or None"),
        ("{'seconds': True}", "metric 'seconds' is True, and has to be a number or None"),
        ("[]", "a round returned [], and has to return its metrics"),
        ("1.0", "a round returned 1.0, and has to return its metrics"),
    ],
)
def test_a_bad_metric_is_refused_after_the_first_round(
    project: Project, returned: str, message: str
) -> None:
    project.add_test(
        "core/test_bench.py",
        "def test_measured(measure):\n"
        "    def run(index):\n"
        "        print('round', index)\n"
        f"        return {returned}\n"
        "    measure(run)\n",
    )
    done = project.run_process()
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 failed in" in done.stdout, done.stdout
    assert message in done.stdout
    assert "round -1" in done.stdout
    assert "round 0" not in done.stdout
    [case] = read_record(project.path / "record.json").cases
    assert "the test failed" in case.invalid[0]


DECLARES = """
from stagegate_baselines.records import Better, MetricClass
from stagegate_harness.metrics import Kind
def test_measured(measure):
    kinds = {"NAME": Kind("1/s", Better.HIGHER, MetricClass.THROUGHPUT)}
    measure(lambda index: {"NAME": 2.0, "seconds": 1.0}, metrics=kinds)
"""


def test_a_benchmark_declares_metrics_of_its_own(project: Project) -> None:
    project.add_test("core/test_bench.py", DECLARES.replace("NAME", "sums_per_sec"))
    done = project.run_process()
    assert done.returncode == 0, done.stdout
    [case] = read_record(project.path / "record.json").cases
    metrics = {metric.name: (metric.unit, str(metric.metric_class)) for metric in case.metrics}
    assert metrics == {"sums_per_sec": ("1/s", "throughput"), "seconds": ("s", "info")}


def test_a_metric_does_not_mean_two_things(project: Project) -> None:
    project.add_test("core/test_bench.py", DECLARES.replace("NAME", "tokens_per_sec"))
    done = project.run_process()
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "metric 'tokens_per_sec' is Kind(unit='tok/s'" in done.stdout


def test_a_round_that_returns_nothing_is_timed(project: Project) -> None:
    project.add_test(
        "test_bench.py",
        "import time\ndef test_sleep(measure): measure(lambda index: time.sleep(0.002))\n",
    )
    done = project.run_process(STAGEGATE_PLANT="test_other=50")
    assert done.returncode == 0, done.stdout
    [case] = read_record(project.path / "record.json").cases
    [metric] = case.metrics
    assert (case.suite, metric.name, metric.unit) == ("test_bench", "latency_us", "us")
    assert all(sample is not None and sample >= 2000 for sample in metric.samples)


def test_the_numbers_of_an_operator_are_of_one_call(project: Project) -> None:
    """A round holds more calls of a short one, which the table would else call the slower."""
    project.add_test(
        "core/test_bench.py",
        "import time\n"
        "from stagegate_harness.ceilings import Ceilings\n"
        "@pytest.mark.parametrize('size', [1, 64])\n"
        "def test_operator(measure, size):\n"
        "    measure.operator(lambda: time.sleep(2e-4 * size), Ceilings(1.0, 1.0, 1.0),\n"
        "                     moved_bytes=1, flops=1, wait=lambda: None)\n",
    )
    done = project.run_process()
    assert done.returncode == 0, done.stdout
    document = json.loads((project.path / "record.json").read_text())
    medians = {item["param"]: item["stats"]["median"] for item in document["benchmarks"]}
    assert 2e-4 <= medians["1"] < 64e-4
    assert 128e-4 <= medians["64"] < 1.0
    for case, item in zip(document["stagegate"]["cases"], document["benchmarks"], strict=True):
        [call] = [metric for metric in case["metrics"] if metric["name"] == "call_us"]
        assert item["stats"]["data"] == pytest.approx([1e-6 * us for us in call["samples"]])


def test_a_project_without_stages_is_a_usage_error(project: Project) -> None:
    project.add_test("core/test_core.py", "def test_core(): pass")
    (project.path / "suites" / "stages.toml").unlink()
    for arguments in ([], ["--stage", "stage0"]):
        result = project.run(*arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            ["ERROR: */suites/stages.toml cannot be read: No such file*", "*title = *"]
        )


STAGE = """
[stage0]
title = "First"
suites = ["core"]
[stage0.criteria]
"s0.one" = "one works"
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[stage0", "is no TOML"),
        ("stage0 = 1", "stage0 is no table"),
        (STAGE.replace('title = "First"', ""), "stage0 has no title"),
        (STAGE.replace("suites", "suite"), "stage0 has no suites"),
        (STAGE.replace('["core"]', '"core"'), "suites is 'core', and has to be a list"),
        (STAGE.replace('["core"]', '["cores"]'), "suite 'cores', and suites/cores does not exist"),
        (STAGE.replace('["core"]', '["core/test_no.py"]'), "'core/test_no.py', and suites/core/"),
        (STAGE.replace('title', 'devise = "cpu"\ntitle'), "unknown key 'devise'; known: title,"),
        (STAGE.replace('title', 'device = "gpu"\ntitle'), "device 'gpu' is unknown; known: cpu"),
        (
            STAGE + '[stage0.proved_by_suites]\n"s0.one" = ["opps"]',
            "suite 'opps', and suites/opps does not exist",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_stages_is_named(
    pytester: pytest.Pytester, text: str, message: str
) -> None:
    write_stages(pytester.path, text)
    with pytest.raises(pytest.UsageError, match=message.replace("[", r"\[")):
        load_stages(load_project(pytester.path))
