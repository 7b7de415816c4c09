"""The entry point for pytest: loads the harness in a project of its, and only there.

It also finds the project whatever values options have on the command line. pytest looks for its
configuration before it knows the options of plugins. In `pytest --model-path /models/qwen` it takes
the folder for tests to run, looks for the configuration above it, and never reads that of the
project it was started in. Such a run is started again with the configuration named.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Generator

import pytest

from stagegate_baselines.project_root import CONFIGURATION, find_root

PLUGIN = "stagegate_harness.plugin"


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    config = pluginmanager.get_plugin("pytestconfig")
    assert isinstance(config, pytest.Config)
    if find_root(config.rootpath) is not None and not pluginmanager.has_plugin(PLUGIN):
        pluginmanager.import_plugin(PLUGIN)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before output is captured
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, None, None]:
    namespace, unknown = parser.parse_known_and_unknown_args(args)
    explicit = namespace.inifilename or namespace.rootdir
    project = find_root(early_config.invocation_params.dir)
    if project is not None and not explicit:
        configuration = project / CONFIGURATION
        # Paths alone name the tests of some project, which need not be this one.
        paths_alone = namespace.file_or_dir and not unknown
        if early_config.inipath != configuration and not paths_alone:
            # Options may have opened files, and are about to open them again.
            for options in (namespace, early_config.known_args_namespace):
                _close_files(options)
            invocation = early_config.invocation_params
            arguments = ["-c", str(configuration), *invocation.args]
            raise SystemExit(pytest.main(arguments, invocation.plugins))
    yield
    if project is None and not explicit:
        _, unknown = parser.parse_known_and_unknown_args(args)
        _refuse_own_options(parser, args, unknown)


def _close_files(options: argparse.Namespace) -> None:
    for value in vars(options).values():
        if isinstance(value, io.IOBase):
            value.close()


def _refuse_own_options(parser: pytest.Parser, args: list[str], unknown: list[str]) -> None:
    """Raises pytest.UsageError for options of the harness, which pytest knows in a project only."""
    if not unknown:
        return
    from stagegate_harness.options import add_options

    add_options(parser, None)
    _, still_unknown = parser.parse_known_and_unknown_args(args)
    options = sorted(word.partition("=")[0] for word in set(unknown) - set(still_unknown))
    if options:
        msg = (
            f"{', '.join(options)}: pytest knows the options of the harness in a project, which is "
            "a folder whose pyproject.toml has [tool.stagegate]; run it there"
        )
        raise pytest.UsageError(msg)
