"""Fixtures every suite may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagegate_baselines.record_file import log_of, pictures_of
from stagegate_harness.options import SETTINGS, record_path


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> str:
    """The device under test, as [tool.stagegate.devices] names it to tests."""
    return pytestconfig.stash[SETTINGS].device


@pytest.fixture
def pictures(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """Folder for screenshots as PNG files: that of the record, whose report shows them."""
    record = record_path(pytestconfig)
    if record is None:
        return tmp_path
    folder = pictures_of(record)
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def run_log(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """File to append to as a test goes on: beside the record, which a killed run never writes."""
    record = record_path(pytestconfig)
    return tmp_path / "run.log" if record is None else log_of(record)
