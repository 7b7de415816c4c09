"""What a measurement was made on and with: machine, software, model, work.

Nothing here names a person, a host or a path: records are published.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stagegate_baselines import launch_variables
from stagegate_baselines.anonymous import anonymous
from stagegate_baselines.nvml import connect
from stagegate_baselines.records import Environment, Gpu, Machine, Strict

# Packages that take part in a measurement, where they are installed.
_PACKAGES = (
    "numpy",
    "pytest",
    "pytest-benchmark",
    "torch",
    "stagegate-harness",
)
_VARIABLE_PREFIXES = ("OMP_", "GOMP_", "CUDA_VISIBLE_DEVICES", "NCCL_", launch_variables.PLANT)
_ADDRESSES = ("NCCL_COMM_ID", "NCCL_SOCKET_IFNAME")


def digest(value: object) -> str:
    """16 hex digits of a value's canonical JSON."""
    plain = value.model_dump(mode="json") if isinstance(value, Strict) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def machine() -> Machine:
    """The hardware, and the limits set on it."""
    import psutil

    logical = psutil.cpu_count(logical=True) or 1
    return Machine(
        cpu=_cpu_name(),
        physical_cores=psutil.cpu_count(logical=False) or logical,
        logical_cores=logical,
        # Firmware and kernel keep a little; whole gibibytes are the size somebody bought.
        memory_bytes=round(psutil.virtual_memory().total / 2**30) * 2**30,
        gpus=_gpus(),
    )


def environment(
    root: Path,
    *,
    num_threads: int,
    build: Mapping[str, object] = MappingProxyType({}),
    packages: Sequence[str] = (),
    written: Sequence[str] = (),
) -> Environment:
    """The software, and the state of the source tree `root`.

    build: compiler, build_type, cuda and onednn, as far as the project has them. packages: that it
    wants recorded beside those of the harness. written: as in source_state.
    """
    revision, dirty = source_state(root, written)
    return Environment(
        python=platform.python_version(),
        compiler=str(build.get("compiler", "unknown")),
        build_type=str(build.get("build_type", "unknown")),
        cuda=_text_or_none(build.get("cuda")),
        onednn=_text_or_none(build.get("onednn")),
        packages={
            name: version
            for name in (*_PACKAGES, *packages)
            if (version := _version(name)) is not None
        },
        variables={
            name: anonymous(value)
            for name, value in sorted(os.environ.items())
            if name.startswith(_VARIABLE_PREFIXES) and name not in _ADDRESSES
        },
        num_threads=num_threads,
        git_revision=revision,
        git_dirty=dirty,
    )


def source_state(root: Path, written: Sequence[str] = ()) -> tuple[str | None, bool | None]:
    """The commit of a source tree, and whether it has changes since; None without git.

    written: folders below it whose content is no part of the source, such as the store.
    """
    return _git(root, "rev-parse", "HEAD"), _is_dirty(root, written)


def model_digest(folder: Path) -> str:
    """Of the files that decide a checkpoint's output: configuration, tokenizer and weights."""
    content = hashlib.sha256()
    for file in sorted((*folder.glob("*.json"), *folder.glob("*.safetensors"))):
        content.update(os.fsencode(file.name))
        with file.open("rb") as stream:
            content.update(hashlib.file_digest(stream, "sha256").digest())
    return content.hexdigest()[:16]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpus() -> tuple[Gpu, ...]:
    """The GPUs NVML knows; none where it or its Python package is missing."""
    nvml = connect()
    if nvml is None:
        return ()
    try:
        driver = nvml.nvmlSystemGetDriverVersion()
        handles = map(nvml.nvmlDeviceGetHandleByIndex, range(nvml.nvmlDeviceGetCount()))
        return tuple(_gpu(nvml, handle, driver) for handle in handles)
    finally:
        nvml.nvmlShutdown()


def _gpu(nvml: Any, handle: Any, driver: str) -> Gpu:
    def ask(function: Any, *arguments: object) -> Any:
        """None for what this card or driver does not tell."""
        try:
            return function(handle, *arguments)
        except nvml.NVMLError:
            return None

    power = ask(nvml.nvmlDeviceGetPowerManagementLimit)
    ecc = ask(nvml.nvmlDeviceGetEccMode)
    mig = ask(nvml.nvmlDeviceGetMigMode)
    return Gpu(
        name=nvml.nvmlDeviceGetName(handle),
        memory_bytes=nvml.nvmlDeviceGetMemoryInfo(handle).total,
        driver=driver,
        power_limit_w=None if power is None else power / 1000,
        max_sm_clock_mhz=ask(nvml.nvmlDeviceGetMaxClockInfo, nvml.NVML_CLOCK_SM),
        max_memory_clock_mhz=ask(nvml.nvmlDeviceGetMaxClockInfo, nvml.NVML_CLOCK_MEM),
        ecc=None if ecc is None else bool(ecc[0]),
        mig=None if mig is None else bool(mig[0]),
    )


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True, text=True, check=False, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _is_dirty(root: Path, written: Sequence[str]) -> bool | None:
    excluded = [f":(exclude){folder}" for folder in written]
    status = _git(root, "status", "--porcelain", "--", ".", *excluded)
    return None if status is None else bool(status)
