"""Logits of given texts from the engine's own steps: its scheduler, layouts and step builder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stagegate import EngineConfig, SamplingParams, build_engine
from stagegate.execution.executor import PendingStep
from stagegate.execution.step import ScheduledStep, StepOutput
from stagegate.execution.worker import Worker
from stagegate.models.model_config import ModelConfig
from stagegate.models.registry import load_model_config

# Text and position of each row, and the logits [R, vocab] that follow.
Receive = Callable[[list[tuple[int, int]], npt.NDArray[np.float32]], None]


class ForcedWorker(Worker):
    """Computes and samples as any worker does, but every text goes on as it is written."""

    def __init__(self, config: EngineConfig, model: ModelConfig, dtype: str) -> None:
        super().__init__(config, model, dtype)
        self._texts: Sequence[Sequence[int]] = ()
        self._receive: Receive = lambda places, logits: None
        self._text_of: dict[tuple[int, int], int] = {}

    def force(self, texts: Sequence[Sequence[int]], receive: Receive) -> None:
        """No two texts may have the same token at one position: that is how a row is known."""
        self._texts, self._receive = texts, receive
        self._text_of = {
            (position, token): index
            for index, text in enumerate(texts)
            for position, token in enumerate(text)
        }
        assert len(self._text_of) == sum(map(len, texts))

    @property
    def overlaps(self) -> bool:
        return False

    def submit(self, step: ScheduledStep) -> PendingStep:  # type: ignore[override]
        places = [
            (self._text_of[position, item.sequence.token_ids[position]], position)
            for item in step.sequences
            for position in item.logits
        ]
        self._receive(places, self.logits(step))
        following = [self._texts[text][position + 1] for text, position in places]
        return _Done(StepOutput(step.row_ptr, np.array(following, np.int32)))


@dataclass(frozen=True)
class _Done:
    output: StepOutput

    def wait(self) -> StepOutput:
        return self.output


class ForcedEngine:
    def __init__(self, config: EngineConfig) -> None:
        model = load_model_config(config.model)
        dtype = model.dtype if config.dtype == "auto" else config.dtype
        self._worker = ForcedWorker(config, model, dtype)
        self._engine = build_engine(config, executor=self._worker)

    def run(self, texts: Sequence[list[int]], new_tokens: int, receive: Receive) -> None:
        """Prefill each text but its last `new_tokens` tokens, then decode these, all together.

        `receive` gets the rows of the last token of each prompt and of all new ones but the last.
        """
        self._worker.force(texts, receive)
        params = SamplingParams(temperature=0, max_tokens=new_tokens, ignore_eos=True)
        for text in texts:
            self._engine.add_request(text[:-new_tokens], params)
        while self._engine.unfinished_requests:
            for request in self._engine.step():
                assert request.error is None, request.error
