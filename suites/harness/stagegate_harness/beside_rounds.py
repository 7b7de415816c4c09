"""What is measured beside the rounds of a benchmark: how busy the host and the GPU were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stagegate_harness.control_loop import Control, run_control
from stagegate_harness.host_clock import HostClock


class BesideRounds:
    """Fixed pieces of work before each round, and what the round took of the host.

    gpu_control: seconds of the piece on the GPU; None where there is no GPU to ask.
    """

    def __init__(self) -> None:
        self.gpu_control: Callable[[], float] | None = None
        # By round, CPU seconds of the process as a share of those on the wall.
        self.on_cpu: list[float] = []
        self._controls: list[Control] = []
        self._gpu_seconds: list[float] = []
        self._host = HostClock()

    def before(self, prepare: Callable[[], object]) -> None:
        """prepare is part of neither the round before nor the one to come."""
        self._host.settle()
        prepare()
        self._controls.append(run_control())
        if self.gpu_control is not None:
            self._gpu_seconds.append(self.gpu_control())
        self._host.start()

    def after(self, on_cpu: float | None = None) -> None:
        """on_cpu: of what the round reports, where that is not all of the round."""
        self._host.stop()
        self.on_cpu.append(self._host.on_cpu if on_cpu is None else on_cpu)

    def fields(self) -> dict[str, Any]:
        """Those of a Case."""
        return {
            "control": tuple(control.wall for control in self._controls),
            "control_cpu": tuple(control.cpu for control in self._controls),
            "device_control": tuple(self._gpu_seconds),
            "host": self._host.times(),
        }
