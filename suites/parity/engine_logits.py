"""Logits of a prompt straight from the worker."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stagegate import LLM
from stagegate.execution.input_batch import StepInput
from stagegate.execution.worker import Worker
from stagegate.kv.metadata import PagedMetadata


def prompt_logits(llm: LLM, prompt: list[int]) -> npt.NDArray[np.float32]:
    """Logits [T, vocab] of every position, computed in one step from slot 0 on.

    The engine must be idle, in the block layout, with room for the prompt.
    """
    executor = llm.engine.executor
    assert isinstance(executor, Worker)
    length = len(prompt)
    block_size = llm.engine.config.block_size
    blocks = np.arange(-(-length // block_size), dtype=np.int32)
    positions = np.arange(length, dtype=np.int32)
    return executor.logits(
        StepInput(
            input_ids=np.array(prompt, dtype=np.int32),
            positions=positions,
            slot_mapping=positions,
            cu_seqlens_q=np.array([0, length], dtype=np.int32),
            context_lens=np.array([length], dtype=np.int32),
            logits_indices=positions,
            attention=PagedMetadata(blocks[None, :], block_size),
            sampling=None,
        )
    )
