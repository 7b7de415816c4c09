"""The hooks of pytest; what they decide is in the modules beside this one."""

from __future__ import annotations

import signal

import pytest

from stagegate_baselines.project import EXAMPLE, Project, ProjectError, load_project
from stagegate_baselines.project_root import find_root
from stagegate_harness import hooks, options
from stagegate_harness.cases import CASES, METRICS, PARAMS
from stagegate_harness.fixtures import (  # noqa: F401 - pytest finds fixtures by name in a plugin
    device,
    pictures,
    run_log,
)
from stagegate_harness.measure import (
    measure,  # noqa: F401 - a fixture
    pytest_runtest_makereport,  # noqa: F401 - a hook
)
from stagegate_harness.metrics import declared_by
from stagegate_harness.options import PROJECT, SETTINGS
from stagegate_harness.plain_benchmarks import PlainBenchmarks
from stagegate_harness.recorder import Recorder
from stagegate_harness.stage_run import StageRun
from stagegate_harness.traced_rounds import TRACED_ROUNDS, TracedRounds

MARKERS = (
    "criterion(*ids): this test is evidence for criteria of the stages",
    "workload_version(version): names what a benchmark does, in place of its code",
)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hooks)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    config = pluginmanager.get_plugin("pytestconfig")
    assert isinstance(config, pytest.Config)
    project = config.stash[PROJECT] = _project(config)
    options.add_options(parser, project)
    if project.adapter is not None:
        try:
            pluginmanager.import_plugin(project.adapter)
        except ImportError as error:
            msg = f"[tool.stagegate] adapter = {project.adapter!r} cannot be imported: {error}"
            raise pytest.UsageError(msg) from error


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As a shell's background job inherits it; the programs that tests interrupt would too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    project = config.stash[PROJECT]
    for marker in (*MARKERS, *(f"{name}: {why}" for name, why in project.opt_in.items())):
        config.addinivalue_line("markers", marker)
    try:
        config.stash[SETTINGS] = options.read_settings(config)
        config.hook.pytest_stagegate_configure(config=config)
    except pytest.UsageError:
        _discard_empty_record(config)
        raise
    if (record := options.record_path(config)) is not None:
        record.parent.mkdir(parents=True, exist_ok=True)  # a run is too long to fail at its end
    metrics = project.metrics
    for more in config.hook.pytest_stagegate_metrics(config=config):
        metrics = declared_by(metrics, more)
    config.stash[METRICS] = metrics
    config.stash[PARAMS] = {
        name: value
        for params in config.hook.pytest_stagegate_params(config=config)
        for name, value in params.items()
    }
    config.stash[CASES] = []
    config.stash[TRACED_ROUNDS] = TracedRounds(config, config.stash[CASES])
    run = StageRun(config)
    config.pluginmanager.register(run, "stagegate-stage-run")
    config.pluginmanager.register(config.stash[TRACED_ROUNDS], "stagegate-traced-rounds")
    config.pluginmanager.register(PlainBenchmarks(), "stagegate-plain-benchmarks")
    config.pluginmanager.register(Recorder(config, run.stage, run.collector), "stagegate-recorder")


def _project(config: pytest.Config) -> Project:
    """The project of the folder that pytest takes for the root. Raises pytest.UsageError."""
    root = find_root(config.rootpath)
    if root is None:
        msg = f"{config.rootpath} lies in no project of the harness. {EXAMPLE}"
        raise pytest.UsageError(msg)
    try:
        return load_project(root)
    except ProjectError as error:
        raise pytest.UsageError(str(error)) from error


def _discard_empty_record(config: pytest.Config) -> None:
    """pytest-benchmark may open the file of --benchmark-json before any option has been checked."""
    record = options.record_path(config)
    if record is not None and record.exists() and record.stat().st_size == 0:
        record.unlink()
