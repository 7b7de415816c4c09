"""Pytest plugin that finds the checkout whatever values options have on the command line.

pytest looks for its configuration before it knows the options of plugins. In
`pytest --model-path /models/qwen` it takes the folder for tests to run, looks for the configuration
above it, and never reads that of the checkout it was started in. This plugin is an entry point, so
it is loaded all the same, and starts such a run again with the configuration named.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

CONFIGURATION = "pyproject.toml"


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before output is captured
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, None, None]:
    namespace, unknown = parser.parse_known_and_unknown_args(args)
    explicit = namespace.inifilename or namespace.rootdir
    checkout = find_checkout(early_config.invocation_params.dir)
    if checkout is not None and not explicit:
        configuration = checkout / CONFIGURATION
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
    if checkout is None and not explicit:
        _, unknown = parser.parse_known_and_unknown_args(args)
        _refuse_options_of_the_suites(parser, args, unknown)


def _close_files(options: argparse.Namespace) -> None:
    for value in vars(options).values():
        if isinstance(value, io.IOBase):
            value.close()


def find_checkout(folder: Path) -> Path | None:
    """The checkout that a folder is in; None outside of one."""
    for candidate in (folder, *folder.parents):
        if _is_checkout(candidate):
            return candidate
    return None


def _is_checkout(folder: Path) -> bool:
    return (folder / "suites" / "stages.toml").is_file() and (folder / CONFIGURATION).is_file()


def _refuse_options_of_the_suites(
    parser: pytest.Parser, args: list[str], unknown: list[str]
) -> None:
    """Raises pytest.UsageError for options that pytest knows in the checkout only."""
    home = Path(__file__).parents[1]
    if not unknown or not _is_checkout(home):
        return
    sys.path[:0] = [str(home / name) for name in ("suites/harness", "baselines", "reports")]
    from stagegate_harness.options import add_options

    add_options(parser)
    _, still_unknown = parser.parse_known_and_unknown_args(args)
    options = sorted(word.partition("=")[0] for word in set(unknown) - set(still_unknown))
    if options:
        msg = (
            f"{', '.join(options)}: pytest knows the options of the suites in {home}; run it there"
        )
        raise pytest.UsageError(msg)
