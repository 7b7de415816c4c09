"""The hooks of the adapter; what they decide is in the modules beside this one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict

import pytest

from stagegate_baselines import fingerprint
from stagegate_baselines.kinds import Kind
from stagegate_baselines.records import Scalar
from stagegate_harness.planted import clock_of
from suites.adapter import options, requirements, selection
from suites.adapter.device_control import device_control
from suites.adapter.fixtures import (  # noqa: F401 - pytest finds fixtures by name in a plugin
    attention,
    attention_backend,
    ceilings,
    kv_layout,
    model_path,
    multilingual_model,
    num_threads,
    soak_seconds,
    workload,
)
from suites.adapter.metrics import KINDS
from suites.adapter.options import ENGINE
from suites.adapter.slow_engine import slow_engine

MARKERS = (
    "requires_gpu: needs a CUDA build and a GPU",
    "requires_cupti: traces the kernels of a GPU",
    "requires_flashinfer: needs a GPU and a build with FlashInfer",
    "requires_hf: runs Hugging Face transformers",
    "tiny_model: about the checkpoint in the repository alone; left out with any other",
    "parity: compares the engine with Hugging Face transformers",
    "unsanitized: left out under compute-sanitizer, where it would take many minutes",
)
# Recorded where they are installed.
PACKAGES = ["tokenizers", "jinja2", "transformers"]


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    _share_pythonpath(config)


def pytest_stagegate_configure(config: pytest.Config) -> None:
    config.stash[ENGINE] = options.read_settings(config)
    config.stash[selection.NUM_OF_TINY_MODEL] = 0


def pytest_stagegate_metrics() -> Mapping[str, Kind]:
    return KINDS


def pytest_stagegate_params(config: pytest.Config) -> Mapping[str, Scalar]:
    settings = config.stash[ENGINE]
    params = asdict(settings.workload)
    del params["rounds"]
    return {**params, "num_threads": settings.num_threads}


def pytest_stagegate_environment(config: pytest.Config) -> Mapping[str, object]:
    try:
        from stagegate import _C
    except ImportError:
        build: Mapping[str, object] = {}
    else:
        build = _C.build_info()
    return {**build, "num_threads": config.stash[ENGINE].num_threads, "packages": PACKAGES}


def pytest_stagegate_model(config: pytest.Config) -> str:
    return fingerprint.model_digest(config.stash[ENGINE].model_path)


def pytest_stagegate_applies(item: pytest.Item, chosen: bool) -> bool:
    return selection.applies(item, chosen)


def pytest_stagegate_why_left_out(item: pytest.Item) -> str | None:
    return selection.why_left_out(item)


def pytest_stagegate_why_unproved(item: pytest.Item) -> str | None:
    return selection.why_cut_short(item)


def pytest_stagegate_device_control() -> Callable[[], float]:
    return device_control()


def pytest_stagegate_slowdown(config: pytest.Config, share: float) -> AbstractContextManager[None]:
    return slow_engine(share, clock_of(config.stash[ENGINE].device))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    requirements.check(item, item.config.stash[ENGINE])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if number := config.stash[selection.NUM_OF_TINY_MODEL]:
        terminalreporter.write_line(f"{number} deselected: tiny model only")


def _share_pythonpath(config: pytest.Config) -> None:
    """Programs that tests start find what pytest's own `pythonpath` lets the tests find."""
    paths = [str(path) for path in config.getini("pythonpath") if path != config.rootpath]
    before = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*paths, *before]))
