"""One rank: loads its weights, owns the runner, executes steps."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stagegate import _C
from stagegate.execution.input_batch import StepInput, build_step_input
from stagegate.execution.sampling_batch import SamplingBatch
from stagegate.execution.step import StepOutput
from stagegate.kv.metadata import PagedMetadata
from stagegate.models.weights import load_weights

if TYPE_CHECKING:
    from stagegate.arrays import Int32Array
    from stagegate.config import EngineConfig
    from stagegate.execution.step import ScheduledStep
    from stagegate.kv.manager import KVTables
    from stagegate.kv.metadata import AttentionMetadata
    from stagegate.models.model_config import ModelConfig

# Not tensors, or not always there.
_APART = frozenset(("parameters", "mask_index", "mask_bits", "num_logprobs"))
_SAMPLING_TENSORS = tuple(part.name for part in fields(SamplingBatch) if part.name not in _APART)
_MASK_TENSORS = ("mask_index", "mask_bits")


class Worker:
    """Executes steps on one device. The scheduler decides what a step holds.

    An Executor. Loads the weights at once, so that the KV storage can be sized by the memory they
    leave; takes no step before `allocate`. Raises ModelError as `load_weights` does.
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
        self._tables: KVTables | None = None

    def prepare(self, *, max_tokens: int, max_rows: int, max_positions: int) -> int:
        self._runner = _C.Runner(
            weights=self._weights,
            context=self._context,
            max_tokens=max_tokens,
            max_rows=max_rows,
            max_positions=max_positions,
        )
        return self._runner.free_bytes

    def allocate(self, tables: KVTables) -> None:
        self._prepared().allocate_kv(tables.num_slots, self._kv_dtype)
        self._tables = tables

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

    def submit(self, step: ScheduledStep) -> RunningStep:
        return RunningStep(self._start(self.inputs(step), return_logits=False), step.row_ptr)

    def inputs(self, step: ScheduledStep) -> StepInput:
        """The arrays of a step, by the KV tables as they are now."""
        assert self._tables is not None, "allocate the KV storage before the first step"
        return build_step_input(step, self._tables)

    def logits(self, step: StepInput) -> npt.NDArray[np.float32]:
        """Run one step and return the f32 logits [R, vocab] of the rows it asks for."""
        logits = _array(self._start(step, return_logits=True).wait().logits)
        assert logits is not None
        return logits

    def _prepared(self) -> _C.Runner:
        assert self._runner is not None, "prepare the worker before anything else"
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
                drawn_rows=_tensor(step.sampled_rows) if step.sampled_rows.size else None,
                sampling=None if sampling is None else _sampling(sampling),
                num_logprobs=-1 if sampling is None else sampling.num_logprobs,
                return_logits=return_logits,
            )
        )


class RunningStep:
    """A step of the core, and whose rows are whose."""

    def __init__(self, pending: _C.PendingStep, row_ptr: Int32Array) -> None:
        self._pending = pending
        self._row_ptr = row_ptr

    def wait(self) -> StepOutput:
        output = self._pending.wait()
        token_ids = _array(output.token_ids)
        return StepOutput(
            row_ptr=self._row_ptr,
            token_ids=np.zeros(0, np.int32) if token_ids is None else token_ids,
            logprobs=_array(output.logprobs),
            top_ids=_array(output.top_ids),
            top_logprobs=_array(output.top_logprobs),
        )


def default_num_threads() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0))


def _tensor(array: npt.NDArray[np.generic]) -> _C.Tensor:
    return _C.Tensor.from_numpy(np.ascontiguousarray(array))


def _array(tensor: _C.Tensor | None) -> npt.NDArray[Any] | None:
    return None if tensor is None else tensor.numpy()


def _attention(metadata: AttentionMetadata) -> _C.PagedMetadata | _C.CsrMetadata:
    if isinstance(metadata, PagedMetadata):
        return _C.PagedMetadata(_tensor(metadata.block_tables), metadata.block_size)
    return _C.CsrMetadata(
        _tensor(metadata.used_slots), _tensor(metadata.row_ptr), _tensor(metadata.col_idx)
    )


def _sampling(batch: SamplingBatch) -> _C.SamplingInputs:
    names = [*_SAMPLING_TENSORS, *(_MASK_TENSORS if batch.mask_bits.size else ())]
    arrays = dict(batch.parameters) | {name: getattr(batch, name) for name in names}
    return _C.SamplingInputs(**{name: _tensor(array) for name, array in arrays.items()})
