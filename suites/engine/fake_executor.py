"""An executor that computes no model: a test says what it samples, when, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from stagegate.arrays import Int32Array
from stagegate.execution.input_batch import StepInput, build_step_input
from stagegate.execution.step import ScheduledStep, StepOutput
from stagegate.kv.manager import KVTables

# The token of every row of logits, [R].
Model = Callable[[StepInput], npt.ArrayLike]


def any_of(token_ids: npt.ArrayLike) -> Model:
    """The token of a row is a function of its seed and draw index alone, as from the core: so a
    request gets the same tokens in any company."""
    choices = np.asarray(token_ids, dtype=np.int32)

    def sample(step: StepInput) -> Int32Array:
        if step.sampling is None:
            return np.zeros(0, dtype=np.int32)
        # Knuth's multiplicative hash: one draw after the other lands far away.
        draws = (step.sampling.seed + step.sampling.draw_index).view(np.uint64) * np.uint64(
            2654435761
        )
        return np.asarray(choices[(draws >> np.uint64(7)) % np.uint64(len(choices))])

    return sample


class Script:
    """Every sequence gets the tokens of the script, in order, and its last token from there on."""

    def __init__(self, token_ids: Sequence[int] = (0,)) -> None:
        self.token_ids = list(token_ids)

    def __call__(self, step: StepInput) -> Int32Array:
        draws = np.zeros(0, np.int64) if step.sampling is None else step.sampling.draw_index
        script = np.asarray(self.token_ids, np.int32)
        return np.asarray(script[np.minimum(draws, len(script) - 1)])


class FakeStep:
    """A step that was submitted; the model runs once, when `wait` is first called or before."""

    def __init__(self, step: ScheduledStep, inputs: StepInput, model: Model) -> None:
        self.inputs = inputs
        self._row_ptr = step.row_ptr
        self._model = model
        self._output: StepOutput | None = None

    def wait(self) -> StepOutput:
        if self._output is None:
            sampling = self.inputs.sampling
            tokens = np.asarray(self._model(self.inputs), dtype=np.int32)
            rows, top = len(tokens), -1 if sampling is None else sampling.num_logprobs
            self._output = StepOutput(self._row_ptr, tokens)
            if top >= 0:
                # As good as any: the log-probability of every token is -1.
                self._output = StepOutput(
                    self._row_ptr,
                    tokens,
                    np.full(rows, -1, np.float32),
                    np.tile(np.arange(top, dtype=np.int32), (rows, 1)),
                    np.full((rows, top), -1, np.float32),
                )
        return self._output


class FakeExecutor:
    """Builds the inputs of a step as any executor, and has a function for a model.

    step_seconds: how long a step takes; meanwhile other threads run, as while a device works.
    before_step: called with the number of each step, from 1 on, before it runs.
    overlaps: the model runs when the result is asked for, as on a device slower than the host.
    """

    def __init__(
        self,
        model: Model,
        *,
        step_seconds: float = 0.0,
        before_step: Callable[[int], object] = lambda number: None,
        overlaps: bool = False,
    ) -> None:
        self.model = model
        self.overlaps = overlaps
        self.before_step = before_step
        self.num_steps = 0
        self._step_seconds = step_seconds
        self._tables: KVTables | None = None

    def prepare(self, *, max_tokens: int, max_rows: int, max_positions: int) -> int:
        """No memory is taken, so none runs out."""
        return 2**40

    def allocate(self, tables: KVTables) -> None:
        """Keys and values are not kept."""
        self._tables = tables

    @property
    def memory_bytes(self) -> dict[str, int]:
        return {}

    def submit(self, step: ScheduledStep) -> FakeStep:
        assert self._tables is not None
        self.num_steps += 1
        self.before_step(self.num_steps)
        pending = FakeStep(step, build_step_input(step, self._tables), self.model)
        if not self.overlaps:
            if self._step_seconds > 0:
                time.sleep(self._step_seconds)
            pending.wait()
        return pending
