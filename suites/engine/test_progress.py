"""What is shown while a device is prepared."""

from __future__ import annotations

import pytest

from stagegate.progress import capture_bar


def test_batch_sizes_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with capture_bar(enabled=True) as report:
        for done in range(1, 4):
            report(done, 3)
    shown = capsys.readouterr()
    assert "preparing batches" in shown.err
    assert "3/3" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(("enabled", "calls"), [(False, 3), (True, 0)])
def test_nothing_is_shown(capsys: pytest.CaptureFixture[str], enabled: bool, calls: int) -> None:
    """When nobody watches, or nothing has to be prepared, as on a CPU."""
    with capture_bar(enabled=enabled) as report:
        for done in range(calls):
            report(done, 3)
    assert capsys.readouterr() == ("", "")
