"""Older records in the shape of today's: one step a version, each frozen once it is written.

A step knows nothing of the models of records.py, which move on while the past does not. What a past
version did not record is "unknown" or 0, so that its keys equal those of no real machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

Section = dict[str, Any]
# From a section of one version, and the whole document, to a section of the next.
Step = Callable[[Section, Mapping[str, Any]], Section]


class UpgradeError(ValueError):
    """No record of a known version."""


def section_of(document: Mapping[str, Any]) -> Section:
    """The record section of a document in the current version; the document stays as it is."""
    section, version = _find(document)
    while version < len(STEPS):
        try:
            section = STEPS[version](section, document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            msg = f"it is no whole record of version {version}: {error!r}"
            raise UpgradeError(msg) from error
        version = section["schema_version"]
    return section


def _find(document: Mapping[str, Any]) -> tuple[Section, int]:
    section = document.get("stagegate")
    if section is None:
        if any("metrics" in (benchmark.get("extra_info") or {}) for benchmark in _cases(document)):
            return {}, 0
        msg = (
            "it has no section and no metrics; runs of the suites with --benchmark-json write them"
        )
        raise UpgradeError(msg)
    version = section.get("schema_version") if isinstance(section, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        msg = f"stagegate.schema_version is {version!r}, not a whole number from 1"
        raise UpgradeError(msg)
    if version > len(STEPS):
        msg = (
            f"has schema version {version}, newer than {len(STEPS)}: update the code that reads it"
        )
        raise UpgradeError(msg)
    return section, version


def _cases(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    cases = document.get("benchmarks")
    return [case for case in cases if isinstance(case, dict)] if isinstance(cases, list) else []


_LATENCY = ("ms", "lower", "latency-p50")
_COUNT = ("1", "higher", "info")
_METRICS_0 = {
    "requests": _COUNT,
    "prompt_tokens": _COUNT,
    "completion_tokens": _COUNT,
    "seconds": ("s", "lower", "info"),
    "tokens_per_sec": ("tok/s", "higher", "throughput"),
    "avg_req_latency_ms": _LATENCY,
    "avg_ttft_ms": _LATENCY,
    "avg_tpot_ms": _LATENCY,
    "prefix_hits": _COUNT,
    "prefix_misses": ("1", "lower", "info"),
    "prefix_saved_tokens": _COUNT,
    "stagegate_tok_s": ("tok/s", "higher", "throughput"),
    "transformers_tok_s": ("tok/s", "higher", "info"),
    "ratio": ("1", "higher", "info"),
}


def _from_0(_: Section, document: Mapping[str, Any]) -> Section:
    """Version 0 had no section: samples and workload were in extra_info of each benchmark."""
    about, commit = document["machine_info"], document["commit_info"]
    cases = [_case_from_0(case) for case in _cases(document) if "metrics" in case["extra_info"]]
    workload = _cases(document)[0]["extra_info"]["workload"]
    machine = {
        "cpu": about["cpu"]["brand_raw"],
        "physical_cores": 0,
        "logical_cores": about["cpu"]["count"],
        "memory_bytes": 0,
        "gpus": [],
    }
    environment = {
        "python": about["python_version"],
        "compiler": "unknown",
        "build_type": "unknown",
        "cuda": None,
        "onednn": None,
        "packages": {"pytest-benchmark": document["version"]},
        "variables": workload["omp"],
        "num_threads": workload["num_threads"],
        "git_revision": commit.get("id"),
        "git_dirty": commit.get("dirty"),
    }
    moment = datetime.fromisoformat(document["datetime"]).astimezone(UTC)
    return {
        "schema_version": 1,
        "created": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "stage": None,
        "machine_key": _digest_1(machine),
        "environment_key": _digest_1(environment),
        "machine": machine,
        "environment": environment,
        "cases": cases,
        "evidence": [],
    }


def _case_from_0(case: Mapping[str, Any]) -> dict[str, Any]:
    info = case["extra_info"]
    workload = {name: info["workload"][name] for name in _WORKLOAD_0}
    params = {**(case["params"] or {}), **workload}
    return {
        "name": case["name"],
        "suite": case["fullname"].split("/")[1],
        "params": params,
        # Version 0 kept no hash of the code, so its cases equal those of no other version.
        "workload_hash": _digest_1({"version": 0, "name": case["fullname"], "params": params}),
        "model_digest": None,
        "metrics": [_metric_from_0(name, samples) for name, samples in info["metrics"].items()],
    }


_WORKLOAD_0 = ("prompts", "input_len", "output_len", "seed", "num_threads")


def _metric_from_0(name: str, samples: list[Any]) -> dict[str, Any]:
    unit, better, metric_class = _METRICS_0[name]
    return {
        "name": name,
        "unit": unit,
        "better": better,
        "metric_class": metric_class,
        "samples": samples,
    }


def _digest_1(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _from_1(section: Section, _: Mapping[str, Any]) -> Section:
    """Version 1 traced no kernels: its cases have no hot path."""
    return {**section, "schema_version": 2}


def _from_2(section: Section, _: Mapping[str, Any]) -> Section:
    """Version 2 ran no control loop beside its rounds. It took the tests it knew for all."""
    evidence = [{**item, "whole": True} for item in section["evidence"]]
    return {**section, "schema_version": 3, "evidence": evidence}


def _from_3(section: Section, _: Mapping[str, Any]) -> Section:
    """Version 3 recorded no CPU time and had no control on the GPU: its launches are judged by the
    clock on the wall."""
    return {**section, "schema_version": 4}


def _from_4(section: Section, _: Mapping[str, Any]) -> Section:
    """Version 4 had another engine in the names of metrics, in the case of ours."""
    cases = [part for case in section["cases"] for part in _by_engine_4(case)]
    return {**section, "schema_version": 5, "cases": cases}


def _by_engine_4(case: dict[str, Any]) -> list[dict[str, Any]]:
    """A case for each engine, told apart by the parameter `engine`."""
    rates = {
        metric["name"].removesuffix("_tok_s"): metric
        for metric in case["metrics"]
        if metric["name"].endswith("_tok_s")
    }
    ours = rates.pop("stagegate", None)
    if ours is None or not rates:
        return [case]
    found = [
        {
            **case,
            "params": {**case["params"], "engine": "stagegate"},
            "metrics": [{**ours, "name": "tokens_per_sec"}],
        }
    ]
    for engine, metric in rates.items():
        name, bracket, values = case["name"].partition("[")
        found.append(
            {
                "name": f"{name}[{values[:-1]}-{engine}]" if bracket else f"{name}[{engine}]",
                "suite": case["suite"],
                "params": {**case["params"], "engine": engine},
                "workload_hash": case["workload_hash"],
                "model_digest": case["model_digest"],
                "metrics": [{**metric, "name": "tokens_per_sec"}],
                "invalid": case.get("invalid", ()),
            }
        )
    return found


def _from_5(section: Section, _: Mapping[str, Any]) -> Section:
    """Version 5 called the KV layout `layout` and the attention backend `backend`."""
    return {**section, "schema_version": 6, "cases": list(map(_with_names_6, section["cases"]))}


# A parameter of such a name with another value is not the engine's, and stays what it is.
_NAMES_5 = {
    "layout": ("kv_layout", ("block", "slot")),
    "backend": ("attention_backend", ("native", "csr", "flashinfer")),
}


def _with_names_6(case: dict[str, Any]) -> dict[str, Any]:
    renamed: Section = {
        place: {_name_6(name, value): value for name, value in case[place].items()}
        for place in ("params", "setup")
        if place in case
    }
    return {**case, **renamed}


def _name_6(name: str, value: object) -> str:
    new, values = _NAMES_5.get(name, (name, ()))
    return new if value in values else name


# STEPS[n] turns version n into version n + 1.
STEPS: tuple[Step, ...] = (_from_0, _from_1, _from_2, _from_3, _from_4, _from_5)
