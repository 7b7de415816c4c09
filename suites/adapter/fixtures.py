"""Fixtures every suite of the engine may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagegate.config import ATTENTION_BACKENDS, KV_LAYOUTS
from stagegate_harness.ceilings import Ceilings, measure_ceilings
from suites.adapter.gpu_ceilings import measure_gpu_ceilings
from suites.adapter.options import ENGINE, Workload, attention_of
from suites.models.multilingual import write_multilingual_qwen2


@pytest.fixture(scope="session", params=KV_LAYOUTS)
def kv_layout(request: pytest.FixtureRequest) -> str:
    """KV cache layout; the test runs once for each that --kv-layout leaves in."""
    return str(request.param)


@pytest.fixture(scope="session", params=ATTENTION_BACKENDS)
def attention_backend(request: pytest.FixtureRequest) -> str:
    """Attention backend; with kv_layout, only combinations the engine distinguishes are run."""
    return str(request.param)


@pytest.fixture(scope="session")
def attention(pytestconfig: pytest.Config) -> str:
    """Whose kernels attention over block tables takes in tests without `attention_backend`."""
    return attention_of(pytestconfig.stash[ENGINE])


@pytest.fixture(scope="session")
def model_path(pytestconfig: pytest.Config) -> Path:
    """Folder of the checkpoint under test."""
    return pytestconfig.stash[ENGINE].model_path


@pytest.fixture(scope="session")
def multilingual_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny checkpoint with whole tokens outside ASCII, whatever --model-path says."""
    return write_multilingual_qwen2(tmp_path_factory.mktemp("models") / "multilingual-qwen2")


@pytest.fixture(scope="session")
def num_threads(pytestconfig: pytest.Config) -> int:
    """Threads of the CPU operators."""
    return pytestconfig.stash[ENGINE].num_threads


@pytest.fixture(scope="session")
def workload(pytestconfig: pytest.Config) -> Workload:
    """Size and seed of a benchmark's work."""
    return pytestconfig.stash[ENGINE].workload


@pytest.fixture(scope="session")
def soak_seconds(pytestconfig: pytest.Config) -> int:
    """How long a soak measures."""
    return pytestconfig.stash[ENGINE].soak_seconds


@pytest.fixture(scope="session")
def ceilings(device: str, num_threads: int) -> Ceilings:
    """What the device under test can do at best, measured once in a run."""
    return measure_ceilings(num_threads) if device == "cpu" else measure_gpu_ceilings()
