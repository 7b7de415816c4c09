"""Fixtures every suite may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import BACKENDS, LAYOUTS
from stagegate_baselines.record_file import log_of, pictures_of
from stagegate_harness.ceilings import Ceilings, measure_ceilings, measure_gpu_ceilings
from stagegate_harness.options import SETTINGS, Workload, attention_of
from suites.models.multilingual import write_multilingual_qwen2


@pytest.fixture(scope="session", params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    """KV cache layout; the test runs once for each that --layout leaves in."""
    return str(request.param)


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Attention form; with layout, only combinations the engine distinguishes are run."""
    return str(request.param)


@pytest.fixture(scope="session")
def attention(pytestconfig: pytest.Config) -> str:
    """Whose kernels attention over block tables takes in tests without `backend`."""
    return attention_of(pytestconfig.stash[SETTINGS])


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> str:
    """The engine's name of the device under test, cpu or cuda."""
    return pytestconfig.stash[SETTINGS].device


@pytest.fixture(scope="session")
def model_path(pytestconfig: pytest.Config) -> Path:
    """Folder of the checkpoint under test."""
    return pytestconfig.stash[SETTINGS].model_path


@pytest.fixture(scope="session")
def multilingual_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny checkpoint with whole tokens outside ASCII, whatever --model-path says."""
    return write_multilingual_qwen2(tmp_path_factory.mktemp("models") / "multilingual-qwen2")


@pytest.fixture(scope="session")
def num_threads(pytestconfig: pytest.Config) -> int:
    """Threads of the CPU operators."""
    return pytestconfig.stash[SETTINGS].num_threads


@pytest.fixture(scope="session")
def workload(pytestconfig: pytest.Config) -> Workload:
    """Size and seed of a benchmark's work."""
    return pytestconfig.stash[SETTINGS].workload


@pytest.fixture
def pictures(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """Folder for screenshots as PNG files: that of the record, whose report shows them."""
    record = pytestconfig.getoption("benchmark_json", None)
    if record is None:
        return tmp_path
    folder = pictures_of(Path(record.name))
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def run_log(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """File to append to as a test goes on: beside the record, which a killed run never writes."""
    record = pytestconfig.getoption("benchmark_json", None)
    return tmp_path / "run.log" if record is None else log_of(Path(record.name))


@pytest.fixture(scope="session")
def soak_seconds(pytestconfig: pytest.Config) -> int:
    """How long a soak measures."""
    return pytestconfig.stash[SETTINGS].soak_seconds


@pytest.fixture(scope="session")
def ceilings(device: str, num_threads: int) -> Ceilings:
    """What the device under test can do at best, measured once in a run."""
    return measure_ceilings(num_threads) if device == "cpu" else measure_gpu_ceilings()
