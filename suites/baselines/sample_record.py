"""A small record for tests of what handles records."""

from __future__ import annotations

from stagegate_baselines.records import Record


def sample_record(
    stage: str = "stage0", rate: float = 100.0, control: float | None = None
) -> Record:
    return Record.model_validate(
        {
            "schema_version": 3,
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
            "cases": [
                {
                    "name": "test_case[block]",
                    "suite": "offline",
                    "params": {"layout": "block", "seed": 0},
                    "workload_hash": "1" * 16,
                    "model_digest": None,
                    "control": [] if control is None else [control],
                    "metrics": [
                        {
                            "name": "tokens_per_sec",
                            "unit": "tok/s",
                            "better": "higher",
                            "metric_class": "throughput",
                            "samples": [rate, rate * 1.01, None],
                        }
                    ],
                }
            ],
            "evidence": [
                {"criterion": "s0.one", "sentence": "it works", "state": "proved", "tests": []}
            ],
        }
    )
