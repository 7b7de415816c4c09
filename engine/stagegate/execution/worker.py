"""One rank: loads its weights, owns the runner, executes steps."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from stagegate import _C
from stagegate.execution.step import (
    CsrMetadata,
    PagedMetadata,
    SamplingBatch,
    StepInput,
    StepOutput,
)
from stagegate.models.weights import load_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagegate.config import EngineConfig
    from stagegate.models.model_config import ModelConfig

# Not tensors, or not always there.
_APART = frozenset(("parameters", "mask_index", "mask_bits", "num_logprobs"))
_SAMPLING_TENSORS = tuple(part.name for part in fields(SamplingBatch) if part.name not in _APART)
_MASK_TENSORS = ("mask_index", "mask_bits")


class StepExecutor(Protocol):
    """What the engine asks of a worker."""

    def prepare(self, *, max_tokens: int, max_rows: int, max_positions: int) -> int:
        """Take the memory for steps, and return the bytes that are left for the KV storage.

        Called once, before `allocate`. max_tokens, max_rows: most tokens and rows of logits of a
        step. max_positions: positions run from 0 to max_positions - 1.
        """

    def allocate(self, num_slots: int) -> None:
        """Take the memory for the KV storage: room for so many tokens. Called once."""

    @property
    def memory_bytes(self) -> dict[str, int]:
        """What the bytes taken on the device are for."""

    @property
    def overlaps(self) -> bool:
        """Whether a step runs while its caller goes on; else `submit` takes as long as the step."""

    def submit(self, step: StepInput) -> Callable[[], StepOutput]:
        """Start a step; what is returned waits for its result.

        It is called once, in the order of the steps, before the second step after this one is
        submitted. `drawn_rows` of a step refers to what the one submitted before it draws.
        StagegateError from either fails the requests of the step.
        """


class Worker:
    """Executes steps on one device. The scheduler decides what a step holds.

    Loads the weights at once, so that the KV storage can be sized by the memory they leave; takes
    no step before `allocate`. Raises ModelError as `load_weights` does.
    """

    def __init__(self, config: EngineConfig, model: ModelConfig, dtype: str) -> None:
        self._context = _C.Context(
            device=config.device,
            num_threads=config.num_threads or default_num_threads(),
            deterministic=bool(config.deterministic),
            attention="flashinfer" if config.backend == "flashinfer" else "native",
        )
        self._weights = load_weights(config.model, model, dtype, self._context)
        # Keys and values are stored as they are computed.
        self._kv_dtype = dtype
        self._runner: _C.Runner | None = None

    def prepare(self, *, max_tokens: int, max_rows: int, max_positions: int) -> int:
        self._runner = _C.Runner(
            weights=self._weights,
            context=self._context,
            max_tokens=max_tokens,
            max_rows=max_rows,
            max_positions=max_positions,
        )
        return self._runner.free_bytes

    def allocate(self, num_slots: int) -> None:
        self._prepared().allocate_kv(num_slots, self._kv_dtype)

    @property
    def memory_bytes(self) -> dict[str, int]:
        """Bytes held for weights, KV storage and workspace."""
        runner = self._prepared()
        return {
            "weights": runner.weight_bytes,
            "kv": runner.kv_bytes,
            "workspace": runner.workspace_bytes,
        }

    @property
    def overlaps(self) -> bool:
        return self._context.device != "cpu"

    def submit(self, step: StepInput) -> Callable[[], StepOutput]:
        pending = self._start(step, return_logits=False)
        return lambda: _output(pending.wait())

    def logits(self, step: StepInput) -> npt.NDArray[np.float32]:
        """Run one step and return the f32 logits [R, vocab] of the rows it asks for."""
        logits = _array(self._start(step, return_logits=True).wait().logits)
        assert logits is not None
        return logits

    def _prepared(self) -> _C.Runner:
        if self._runner is None:
            msg = "prepare the worker before anything else"
            raise RuntimeError(msg)
        return self._runner

    def _start(self, step: StepInput, *, return_logits: bool) -> _C.PendingStep:
        sampling = step.sampling
        return self._prepared().step(
            _C.StepInput(
                input_ids=_tensor(step.input_ids),
                positions=_tensor(step.positions),
                slot_mapping=_tensor(step.slot_mapping),
                cu_seqlens_q=_tensor(step.cu_seqlens_q),
                context_lens=_tensor(step.context_lens),
                logits_indices=_tensor(step.logits_indices),
                attention=_attention(step.attention),
                drawn_rows=_tensor(step.drawn_rows) if step.drawn_rows.size else None,
                sampling=None if sampling is None else _sampling(sampling),
                num_logprobs=-1 if sampling is None else sampling.num_logprobs,
                return_logits=return_logits,
            )
        )


def default_num_threads() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0))


def _output(output: _C.StepOutput) -> StepOutput:
    token_ids = _array(output.token_ids)
    return StepOutput(
        token_ids=np.zeros(0, np.int32) if token_ids is None else token_ids,
        logprobs=_array(output.logprobs),
        top_ids=_array(output.top_ids),
        top_logprobs=_array(output.top_logprobs),
    )


def _tensor(array: npt.NDArray[np.generic]) -> _C.Tensor:
    return _C.Tensor.from_numpy(np.ascontiguousarray(array))


def _array(tensor: _C.Tensor | None) -> npt.NDArray[Any] | None:
    return None if tensor is None else tensor.numpy()


def _attention(metadata: PagedMetadata | CsrMetadata) -> _C.PagedMetadata | _C.CsrMetadata:
    if isinstance(metadata, PagedMetadata):
        return _C.PagedMetadata(_tensor(metadata.block_tables), metadata.block_size)
    return _C.CsrMetadata(
        _tensor(metadata.used_slots), _tensor(metadata.row_ptr), _tensor(metadata.col_idx)
    )


def _sampling(batch: SamplingBatch) -> _C.SamplingInputs:
    names = [*_SAMPLING_TENSORS, *(_MASK_TENSORS if batch.mask_bits.size else ())]
    arrays = dict(batch.parameters) | {name: getattr(batch, name) for name in names}
    return _C.SamplingInputs(**{name: _tensor(array) for name, array in arrays.items()})
