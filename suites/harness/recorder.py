"""The record of a run: a section of pytest-benchmark's own JSON file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from baselines import fingerprint
from baselines.record_file import SECTION
from baselines.records import SCHEMA_VERSION, Evidence, Record
from suites.harness.criteria import EvidenceCollector
from suites.harness.measure import CASES
from suites.harness.options import SETTINGS
from suites.harness.stages import Stage


class Recorder:
    """Adds the record when pytest-benchmark writes its file."""

    def __init__(
        self, config: pytest.Config, stage: Stage | None, collector: EvidenceCollector
    ) -> None:
        self._config = config
        self._stage = stage
        self._collector = collector

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_json(
        self, config: pytest.Config, benchmarks: list[Any], output_json: dict[str, Any]
    ) -> None:
        output_json[SECTION] = self.record().model_dump(mode="json")

    def record(self) -> Record:
        settings = self._config.stash[SETTINGS]
        machine = fingerprint.machine()
        environment = fingerprint.environment(
            self._config.rootpath, num_threads=settings.num_threads
        )
        return Record(
            schema_version=SCHEMA_VERSION,
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            stage=None if self._stage is None else self._stage.name,
            machine_key=fingerprint.digest(machine),
            environment_key=fingerprint.digest(environment),
            machine=machine,
            environment=environment,
            cases=tuple(self._config.stash[CASES]),
            evidence=self._evidence(),
        )

    def _evidence(self) -> tuple[Evidence, ...]:
        if self._stage is None:
            return ()
        return tuple(
            Evidence(
                criterion=criterion,
                sentence=sentence,
                state=self._collector.evidence(criterion).state.value,
                tests=self._collector.outcomes(criterion),
            )
            for criterion, sentence in self._stage.criteria.items()
        )
