"""A small record for tests of what handles records."""

from __future__ import annotations

from dataclasses import dataclass

from stagegate_baselines.records import SCHEMA_VERSION, Record


@dataclass(frozen=True)
class Host:
    """What one round of a second of CPU time took of it: seconds, and the control's CPU seconds.

    asleep: it waited for something else than a processor. children: CPU time of other processes.
    """

    queued: float | None = 0.0
    asleep: float = 0.0
    children: float = 0.0
    cpu: float = 1.0
    control_cpu: float = 0.01

    @property
    def wall(self) -> float:
        return 1.0 + (self.queued or 0.0) + self.asleep


def sample_record(
    stage: str = "stage0",
    rate: float = 100.0,
    control: float | None = None,
    host: Host | None = None,
    device_control: float | None = None,
) -> Record:
    """rate: by time on the wall. host: None where nothing was measured of it."""
    return Record.model_validate(
        {
            "device": "cpu" if device_control is None else "cuda",
            "schema_version": SCHEMA_VERSION,
            "created": "2026-01-02T03:04:05Z",
            "stage": stage,
            "machine_key": "0123456789abcdef",
            "environment_key": "fedcba9876543210",
            "machine": {
                "cpu": "A processor ™",
                "physical_cores": 2,
                "logical_cores": 2,
                "memory_bytes": 2**34,
                "gpus": [],
            },
            "environment": {
                "python": "3.12.1",
                "compiler": "GNU 12.2.0",
                "build_type": "Release",
                "cuda": None,
                "onednn": None,
                "packages": {"numpy": "2.0"},
                "variables": {},
                "num_threads": 2,
                "git_revision": None,
                "git_dirty": None,
            },
            "cases": [_case(rate, control, host, device_control)],
            "evidence": [
                {"criterion": "s0.one", "sentence": "it works", "state": "proved", "tests": []}
            ],
        }
    )


def _case(
    rate: float, control: float | None, host: Host | None, device_control: float | None
) -> dict[str, object]:
    # As many tokens in the part of the time that had a processor.
    cpu_rate = 0.0 if host is None else rate * host.wall / host.cpu
    case: dict[str, object] = {
        "name": "test_case[block]",
        "suite": "offline",
        "params": {"kv_layout": "block", "seed": 0},
        "workload_hash": "1" * 16,
        "model_digest": None,
        "control": [] if control is None else [control],
        "device_control": [] if device_control is None else [device_control],
        "metrics": [
            {
                "name": "tokens_per_sec",
                "unit": "tok/s",
                "better": "higher",
                "metric_class": "throughput",
                "samples": [rate, rate * 1.01, None],
                "cpu_samples": [] if host is None else [cpu_rate, cpu_rate * 1.01, None],
            }
        ],
    }
    if host is not None:
        case["control_cpu"] = [host.control_cpu]
        case["host"] = {
            "wall": [host.wall],
            "cpu": [host.cpu],
            "children": [host.children],
            "queued": None if host.queued is None else [host.queued],
        }
    return case
