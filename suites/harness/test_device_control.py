"""The control on the GPU, with work that only pretends to be one."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from stagegate_harness.cases import CASES
from stagegate_harness.measure import Measure
from stagegate_harness.options import SETTINGS
from suites.adapter.device_control import device_control, timed
from suites.harness.test_recorder import FakeBenchmark, fake_item


def test_the_wait_belongs_to_the_work() -> None:
    log: list[str] = []

    def wait() -> None:
        log.append("wait")
        time.sleep(0.002)

    seconds = timed(lambda: log.append("work"), wait)
    assert log == ["wait", "work", "wait"]
    assert 0.002 <= seconds() < 1.0
    # What was queued before is not waited for on the control's account.
    assert log == ["wait", "work", "wait"] * 6


def test_a_round_on_a_gpu_has_a_control_there(tmp_path: Path) -> None:
    hook = SimpleNamespace(pytest_stagegate_device_control=lambda config: lambda: 0.0002)
    controls = []
    for number, (device, trace) in enumerate([("cuda", True), ("cuda", False), ("cpu", True)]):
        item = fake_item(tmp_path / str(number), rounds=3)
        item.config.hook = hook
        item.config.stash[SETTINGS].device = device
        Measure(FakeBenchmark(), item)(lambda _: {"tokens_per_sec": 1.0}, trace=trace)
        [case] = item.config.stash[CASES]
        controls.append(case.device_control)
    assert controls == [(0.0002,) * 3, (), ()]


@pytest.mark.requires_gpu
def test_on_a_gpu() -> None:
    seconds = device_control()
    assert 1e-5 < seconds() < 0.1
