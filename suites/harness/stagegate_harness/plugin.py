"""The hooks; what they decide is in the modules beside this one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from stagegate_harness import axes, options
from stagegate_harness.fixtures import (  # noqa: F401 - pytest finds fixtures by name in a plugin
    attention,
    backend,
    ceilings,
    device,
    layout,
    model_path,
    multilingual_model,
    num_threads,
    pictures,
    run_log,
    soak_seconds,
    workload,
)
from stagegate_harness.measure import (
    CASES,
    measure,  # noqa: F401 - a fixture
    pytest_runtest_makereport,  # noqa: F401 - a hook
)
from stagegate_harness.recorder import Recorder
from stagegate_harness.stage_run import StageRun
from stagegate_harness.traced_rounds import TRACED_ROUNDS, TracedRounds

MARKERS = (
    "criterion(*ids): this test is evidence for criteria of stages.toml",
    "requires_gpu: needs a CUDA build and a GPU",
    "requires_cupti: traces the kernels of a GPU",
    "requires_flashinfer: needs a GPU and a build with FlashInfer",
    "requires_hf: runs Hugging Face transformers",
    "workload_version(version): names what a benchmark does, in place of its code",
    "tiny_model: about the checkpoint in the repository alone; left out with any other",
    "parity: compares the engine with Hugging Face transformers",
    "unsanitized: left out under compute-sanitizer, where it would take many minutes",
    *(f"{name}: {why}" for name, why in axes.OPT_IN.items()),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As a shell's background job inherits it; the programs that tests interrupt would too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _share_pythonpath(config)
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    try:
        config.stash[options.SETTINGS] = options.read_settings(config)
    except pytest.UsageError:
        _discard_empty_record(config)
        raise
    config.stash[CASES] = []
    config.stash[TRACED_ROUNDS] = TracedRounds(config, config.stash[CASES])
    run = StageRun(config)
    config.pluginmanager.register(run, "stagegate-stage-run")
    config.pluginmanager.register(config.stash[TRACED_ROUNDS], "stagegate-traced-rounds")
    config.pluginmanager.register(Recorder(config, run.stage, run.collector), "stagegate-recorder")


def _share_pythonpath(config: pytest.Config) -> None:
    """Programs that tests start find what pytest's own `pythonpath` lets the tests find."""
    paths = [str(path) for path in config.getini("pythonpath") if path != config.rootpath]
    before = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*paths, *before]))


def _discard_empty_record(config: pytest.Config) -> None:
    """pytest-benchmark opens the file of --benchmark-json before any option has been checked."""
    record = config.getoption("benchmark_json", None)
    if record is not None and Path(record.name).stat().st_size == 0:
        Path(record.name).unlink()
