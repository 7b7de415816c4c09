"""A worker that says what it was told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from stagegate.execution.step import StepInput, StepOutput


class ScriptedWorker:
    """Every sequence gets the tokens of the script, in order, and its last token from there on."""

    def __init__(self, script: Sequence[int]) -> None:
        self.script = list(script)

    def prepare(self, *, max_tokens: int, max_rows: int, max_positions: int) -> int:
        """No memory is taken, so none runs out."""
        return 2**40

    def allocate(self, num_slots: int) -> None:
        """Keys and values are not kept."""

    @property
    def memory_bytes(self) -> dict[str, int]:
        return {}

    @property
    def overlaps(self) -> bool:
        return False

    def submit(self, step: StepInput) -> Callable[[], StepOutput]:
        output = self._execute(step)
        return lambda: output

    def _execute(self, step: StepInput) -> StepOutput:
        draws = np.zeros(0, np.int64) if step.sampling is None else step.sampling.draw_index
        script = np.asarray(self.script, np.int32)
        return StepOutput(script[np.minimum(draws, len(script) - 1)])
