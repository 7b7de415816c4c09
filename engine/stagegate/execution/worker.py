"""One rank: loads its weights, owns the runner, executes steps."""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stagegate.execution.decode_rows import RowChanges
from stagegate.execution.sampling_batch import SamplingBatch
from stagegate.execution.step import ScheduledStep, StepOutput
from stagegate.execution.step_inputs import DecodeInput, StepInputs
from stagegate.kv.metadata import PagedMetadata
from stagegate.models.weights import load_weights
from stagegate.native import _C
from stagegate.progress import capture_bar

if TYPE_CHECKING:
    from stagegate.arrays import Int32Array
    from stagegate.config import EngineConfig
    from stagegate.execution.input_batch import StepInput
    from stagegate.execution.step_inputs import ArrayInput
    from stagegate.kv.manager import KVTables
    from stagegate.kv.metadata import AttentionMetadata
    from stagegate.models.model_config import ModelConfig

# Not tensors, or not always there.
_APART = frozenset(("parameters", "mask_index", "mask_bits", "num_logprobs"))
_SAMPLING_TENSORS = tuple(part.name for part in fields(SamplingBatch) if part.name not in _APART)
_MASK_TENSORS = ("mask_index", "mask_bits")
_CHANGES = tuple(part.name for part in fields(RowChanges) if part.name != "parameters")


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
            attention="flashinfer" if config.attention_backend == "flashinfer" else "native",
            linear_backend=config.linear_backend,
        )
        self._weights = load_weights(config.model, model, dtype, self._context)
        # Keys and values are stored as they are computed.
        self._kv_dtype = dtype
        self._config = config
        self._max_seqs = config.max_num_seqs
        self._runner: _C.Runner | None = None
        self._inputs: StepInputs | None = None

    def prepare(self, *, max_tokens: int, max_rows: int, max_positions: int) -> int:
        # A step that samples for all of them has a token and a row of logits for each.
        self._max_seqs = min(self._config.max_num_seqs, max_tokens, max_rows)
        self._runner = _C.Runner(
            weights=self._weights,
            context=self._context,
            max_tokens=max_tokens,
            max_rows=max_rows,
            max_positions=max_positions,
            max_seqs=self._max_seqs,
            block_size=_table_block_size(self._config),
        )
        return self._runner.free_bytes

    def allocate(self, tables: KVTables) -> None:
        self._prepared().allocate_kv(tables.num_slots, self._kv_dtype)
        with capture_bar(enabled=sys.stderr.isatty()) as bar:
            self._prepared().capture(bar)
        self._inputs = StepInputs(
            tables,
            num_rows=self._max_seqs,
            has_tables=_table_block_size(self._config) > 0,
        )

    @property
    def memory_bytes(self) -> dict[str, int]:
        """Bytes held for weights, KV storage, workspace, and the rows of running sequences."""
        runner = self._prepared()
        return {
            "weights": runner.weight_bytes,
            "kv": runner.kv_bytes,
            "workspace": runner.workspace_bytes,
            "rows": runner.row_bytes,
        }

    @property
    def overlaps(self) -> bool:
        return self._context.device != "cpu"

    def submit(self, step: ScheduledStep) -> RunningStep:
        try:
            return self.launch(self.build(step), step.row_ptr)
        except BaseException:
            if self._inputs is not None:
                self._inputs.forget(step)
            raise

    def build(
        self, step: ScheduledStep, *, return_logits: bool = False
    ) -> _C.ArrayStep | _C.DecodeStep:
        """A step as the core takes it, by the KV tables as they are now.

        Steps are launched in the order in which they are built.
        """
        assert self._inputs is not None, "allocate the KV storage before the first step"
        built = self._inputs.build(step)
        if isinstance(built, DecodeInput):
            return _decode_step(built, return_logits=return_logits)
        return _array_step(built.arrays, built, return_logits=return_logits)

    def launch(self, step: _C.ArrayStep | _C.DecodeStep, row_ptr: Int32Array) -> RunningStep:
        """Start a step; row_ptr: which rows of its output belong to which sequence, i32 [B + 1]."""
        return RunningStep(self._launch(step), row_ptr)

    def logits(self, step: StepInput | ScheduledStep) -> npt.NDArray[np.float32]:
        """Run one step and return the f32 logits [R, vocab] of the rows it asks for.

        What a scheduled step samples is forgotten: its sequences go on with the tokens that the
        next step has of them.
        """
        if isinstance(step, ScheduledStep):
            assert self._inputs is not None, "allocate the KV storage before the first step"
            pending = self._launch(self.build(step, return_logits=True))
            self._inputs.forget(step)
        else:
            pending = self._launch(_array_step(step, return_logits=True))
        logits = _array(pending.wait().logits)
        assert logits is not None
        return logits

    def _launch(self, step: _C.ArrayStep | _C.DecodeStep) -> _C.PendingStep:
        runner = self._prepared()
        return runner.decode(step) if isinstance(step, _C.DecodeStep) else runner.step(step)

    def _prepared(self) -> _C.Runner:
        assert self._runner is not None, "prepare the worker before anything else"
        return self._runner


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


def _table_block_size(config: EngineConfig) -> int:
    """Slots of a block, as decodes find their keys; 0 where they take the arrays of a step."""
    if config.kv_layout == "slot":
        return 1
    return config.block_size if config.attention_backend == "native" else 0


def _tensor(array: npt.NDArray[np.generic]) -> _C.Tensor:
    return _C.Tensor.from_numpy(np.ascontiguousarray(array))


def _array(tensor: _C.Tensor | None) -> npt.NDArray[Any] | None:
    return None if tensor is None else tensor.numpy()


def _array_step(
    step: StepInput, rows: ArrayInput | None = None, *, return_logits: bool = False
) -> _C.ArrayStep:
    """rows: of the sequences of the step; None leaves them as they are."""
    sampling = step.sampling
    has_tokens_to_come = rows is not None and rows.token_rows.size > 0
    return _C.ArrayStep(
        input_ids=_tensor(step.input_ids),
        positions=_tensor(step.positions),
        slot_mapping=_tensor(step.slot_mapping),
        cu_seqlens_q=_tensor(step.cu_seqlens_q),
        context_lens=_tensor(step.context_lens),
        logits_indices=_tensor(step.logits_indices),
        attention=_attention(step.attention),
        changes=None if rows is None else _changes(rows.changes),
        token_rows=_tensor(rows.token_rows) if rows is not None and has_tokens_to_come else None,
        sampling=None if sampling is None else _sampling(sampling),
        sample_rows=None if rows is None else _tensor(rows.sample_rows),
        sample_lens=None if rows is None else _tensor(rows.sample_lens),
        num_logprobs=-1 if sampling is None else sampling.num_logprobs,
        return_logits=return_logits,
    )


def _decode_step(step: DecodeInput, *, return_logits: bool) -> _C.DecodeStep:
    sampling = step.sampling
    return _C.DecodeStep(
        rows=_tensor(step.rows),
        changes=_changes(step.changes),
        sampling=None if sampling is None else _sampling(sampling),
        num_logprobs=-1 if sampling is None else sampling.num_logprobs,
        return_logits=return_logits,
    )


def _changes(changes: RowChanges | None) -> _C.RowChanges | None:
    if changes is None:
        return None
    arrays = dict(changes.parameters) | {name: getattr(changes, name) for name in _CHANGES}
    return _C.RowChanges(**{name: _tensor(array) for name, array in arrays.items()})


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
