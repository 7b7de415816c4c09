"""The record of a run: a section of pytest-benchmark's own JSON file."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import pytest

from stagegate_baselines import fingerprint
from stagegate_baselines.anonymous import anonymous
from stagegate_baselines.nvml import connect
from stagegate_baselines.record_file import SECTION
from stagegate_baselines.records import SCHEMA_VERSION, Case, Evidence, Record, TestOutcome
from stagegate_baselines.telemetry import Telemetry
from stagegate_harness.cases import CASES
from stagegate_harness.criteria import EvidenceCollector
from stagegate_harness.measure import TELEMETRY
from stagegate_harness.options import PROJECT, SETTINGS
from stagegate_harness.stages import Stage


class Recorder:
    """Adds the record when pytest-benchmark writes its file, and has it written in any case."""

    def __init__(
        self, config: pytest.Config, stage: Stage | None, collector: EvidenceCollector
    ) -> None:
        self._config = config
        self._stage = stage
        self._collector = collector
        self._written = False
        self._telemetry: Telemetry | None = None

    def pytest_sessionstart(self) -> None:
        if self._config.stash[SETTINGS].device == "cpu":
            return
        nvml = connect()
        if nvml is None:
            return
        self._telemetry = Telemetry(nvml)
        self._config.stash[TELEMETRY] = self._telemetry
        self._telemetry.start()
        self._config.add_cleanup(nvml.nvmlShutdown)
        self._config.add_cleanup(self._telemetry.stop)

    def pytest_keyboard_interrupt(self) -> None:
        """What had not ended a round has no numbers, which pytest-benchmark would stumble over."""
        benchmarks = getattr(self._config, "_benchmarksession", None)
        if benchmarks is not None:
            benchmarks.benchmarks[:] = filter(None, benchmarks.benchmarks)

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        # The name of the host; records are published.
        machine_info.pop("node", None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_commit_info(self, commit_info: dict[str, Any]) -> None:
        for name in ("project", "branch"):  # of a folder, and often of a person
            commit_info.pop(name, None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        self._written = True
        for benchmark in output_json["benchmarks"]:
            for name in ("name", "fullname", "param"):
                if benchmark[name] is not None:
                    benchmark[name] = anonymous(benchmark[name])
            for name, value in (benchmark["params"] or {}).items():
                benchmark["params"][name] = anonymous(value) if isinstance(value, str) else value
        output_json[SECTION] = self.record().model_dump(mode="json")

    def pytest_sessionfinish(self) -> None:
        """Without a benchmark pytest-benchmark writes nothing, but the evidence is worth a file."""
        config = self._config
        if hasattr(config, "workerinput"):
            return  # the process that started this worker has the evidence of all of them
        benchmarks = getattr(config, "_benchmarksession", None)
        if self._written or benchmarks is None or not benchmarks.json or config.option.collectonly:
            return
        commit_info = config.hook.pytest_benchmark_generate_commit_info(config=config)
        config.hook.pytest_benchmark_update_commit_info(config=config, commit_info=commit_info)
        document = config.hook.pytest_benchmark_generate_json(
            config=config,
            benchmarks=[],
            include_data=True,
            machine_info=benchmarks.get_machine_info(),
            commit_info=commit_info,
        )
        config.hook.pytest_benchmark_update_json(config=config, benchmarks=[], output_json=document)
        benchmarks.save_json(document)

    def record(self) -> Record:
        settings = self._config.stash[SETTINGS]
        cases: list[Case] = self._config.stash[CASES]
        machine = fingerprint.machine()
        facts: dict[str, Any] = {"num_threads": len(os.sched_getaffinity(0))}
        for more in self._config.hook.pytest_stagegate_environment(config=self._config):
            facts |= more
        project = self._config.stash[PROJECT]
        environment = fingerprint.environment(
            project.root,
            num_threads=facts["num_threads"],
            build=facts,
            packages=facts.get("packages", ()),
            written=project.written,
        )
        return Record(
            schema_version=SCHEMA_VERSION,
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            stage=None if self._stage is None else self._stage.name,
            machine_key=fingerprint.digest(machine),
            environment_key=fingerprint.digest(environment),
            machine=machine,
            environment=environment,
            cases=tuple(cases),
            evidence=self._evidence(),
            device=None if self._stage is None else settings.device,
            model_digest=(
                None
                if self._stage is None
                else self._config.hook.pytest_stagegate_model(config=self._config)
            ),
            interrupted=self._collector.interrupted,
            telemetry=() if self._telemetry is None else self._telemetry.samples(),
        )

    def _evidence(self) -> tuple[Evidence, ...]:
        if self._stage is None:
            return ()
        found = (
            self._collector.evidence(criterion, sentence)
            for criterion, sentence in self._stage.criteria.items()
        )
        return tuple(
            evidence.model_copy(update={"tests": tuple(map(_published, evidence.tests))})
            for evidence in found
        )


def _published(outcome: TestOutcome) -> TestOutcome:
    reason = None if outcome.reason is None else anonymous(outcome.reason)
    return outcome.model_copy(update={"test": anonymous(outcome.test), "reason": reason})
