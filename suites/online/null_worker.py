"""A worker that computes nothing: what is left is the cost of everything around the model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from stagegate.execution.step import StepInput, StepOutput


class NullWorker:
    """Draws token ids without weights: any model's configuration and tokenizer do.

    The token of a row is a function of its seed and draw index alone, so a request gets the same
    tokens in any company, as from the core. All tokens are equally likely.

    Args:
        token_ids: what may be drawn; the model's vocabulary, or the part a test wants to see.
        step_seconds: how long a step takes; meanwhile other threads run, as while a device works.
    """

    def __init__(self, token_ids: npt.ArrayLike, *, step_seconds: float = 0.0) -> None:
        self._token_ids = np.asarray(token_ids, dtype=np.int32)
        self._step_seconds = step_seconds

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
        if self._step_seconds > 0:
            time.sleep(self._step_seconds)
        sampling = step.sampling
        if sampling is None:
            return StepOutput(np.zeros(0, dtype=np.int32))
        # Knuth's multiplicative hash: one draw after the other lands far away.
        draws = (sampling.seed + sampling.draw_index).view(np.uint64) * np.uint64(2654435761)
        chosen = self._token_ids[(draws >> np.uint64(7)) % np.uint64(len(self._token_ids))]
        if sampling.num_logprobs < 0:
            return StepOutput(chosen)
        rows, likely = len(chosen), self._token_ids[: sampling.num_logprobs]
        logprob = np.float32(-math.log(len(self._token_ids)))
        return StepOutput(
            token_ids=chosen,
            logprobs=np.full(rows, logprob),
            top_ids=np.tile(likely, (rows, 1)),
            top_logprobs=np.full((rows, len(likely)), logprob),
        )
