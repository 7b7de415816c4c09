from __future__ import annotations

from pathlib import Path

import pytest

from stagegate_baselines.gate.step_summary import LIMIT_BYTES, add_to_step_summary


def test_it_is_appended_and_kept_below_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    add_to_step_summary("# one")
    add_to_step_summary("two")
    assert file.read_text() == "# one\n\ntwo\n\n"
    add_to_step_summary("ä" * LIMIT_BYTES)
    assert file.stat().st_size <= LIMIT_BYTES
    assert file.read_text().endswith("artifacts of this job.)\n")


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    add_to_step_summary("# one")
