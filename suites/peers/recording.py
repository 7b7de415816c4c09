"""The record of a comparison, as the suites write one of a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from stagegate import _C
from stagegate_baselines import fingerprint
from stagegate_baselines.project import Project
from stagegate_baselines.records import SCHEMA_VERSION, Case, Record
from suites.adapter.plugin import PACKAGES

STAGE = "stage6"


def record_of(
    project: Project, device: str, num_threads: int, model_digest: str, cases: Sequence[Case]
) -> Record:
    """A record of these cases, on this machine and of this tree."""
    machine = fingerprint.machine()
    environment = fingerprint.environment(
        project.root,
        num_threads=num_threads,
        build=_C.build_info(),
        packages=PACKAGES,
        written=project.written,
    )
    return Record(
        schema_version=SCHEMA_VERSION,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        stage=STAGE,
        machine_key=fingerprint.digest(machine),
        environment_key=fingerprint.digest(environment),
        machine=machine,
        environment=environment,
        cases=tuple(cases),
        evidence=(),
        device=device,
        model_digest=model_digest,
    )
