"""Types of the C++ core; csrc/bindings is what they describe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt
from typing_extensions import Buffer

def build_info() -> dict[str, Any]: ...

class TimingFile:
    """Which kernels were the fastest on one GPU, as a file has it. winners: by contest."""

    @property
    def path(self) -> Path: ...
    @property
    def subject(self) -> str:
        """Device and versions; empty in a file that is none of these, or damaged."""
    @property
    def winners(self) -> dict[str, str]: ...
    @property
    def damaged(self) -> int:
        """Lines that say nothing."""

def timing_folder() -> Path | None:
    """Where timings are kept; None where STAGEGATE_CACHE is off, or there is no home."""

def kept_timings() -> list[TimingFile]: ...

class Context:
    def __init__(
        self,
        device: str = "cpu",
        num_threads: int = 1,
        deterministic: bool = False,
        attention: str = "native",
        linear_backend: str = "auto",
        instruction_set: str | None = None,
    ) -> None: ...
    @property
    def device(self) -> str: ...
    @property
    def num_threads(self) -> int: ...
    @property
    def deterministic(self) -> bool: ...
    @property
    def attention(self) -> str: ...
    @property
    def linear_backend(self) -> str:
        """auto: fused kernels where one takes a call; composed: the primitive operators always."""
    @property
    def instruction_set(self) -> str:
        """What the CPU kernels use: portable, avx2, avx512 or amx; by default the best there is."""
    def synchronize(self) -> None: ...

class Ledger:
    """What the core did for this thread inside a `with` block.

    dispatches: (operator, device) -> calls. copies between host and device: (name, direction) ->
    (copies, bytes).
    """

    def __enter__(self) -> Ledger: ...
    def __exit__(self, *error: object) -> None: ...
    @property
    def dispatches(self) -> dict[tuple[str, str], int]: ...
    @property
    def copies(self) -> dict[tuple[str, str], tuple[int, int]]: ...

class Tensor:
    @staticmethod
    def from_numpy(array: npt.NDArray[Any], dtype: str | None = None) -> Tensor: ...
    @staticmethod
    def from_buffer(
        buffer: Buffer | npt.NDArray[Any], dtype: str, shape: list[int], offset_bytes: int = 0
    ) -> Tensor: ...
    def numpy(self) -> npt.NDArray[Any]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def is_contiguous(self) -> bool: ...
    def view(self, shape: list[int]) -> Tensor: ...
    def slice(self, dim: int, start: int, stop: int) -> Tensor: ...
    def permute(self, dims: list[int]) -> Tensor: ...
    def reshape(self, shape: list[int]) -> Tensor: ...
    def contiguous(self) -> Tensor: ...
    def to(self, *, dtype: str | None = None, device: str | None = None) -> Tensor: ...

def copy(source: Tensor, destination: Tensor) -> None: ...
def empty(shape: list[int], dtype: str, device: str = "cpu") -> Tensor: ...
def zeros(shape: list[int], dtype: str, device: str = "cpu") -> Tensor: ...

class RopeScaling:
    def __init__(
        self,
        *,
        factor: float,
        low_freq_factor: float,
        high_freq_factor: float,
        original_max_positions: int,
    ) -> None: ...

class DecoderConfig:
    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int,
        intermediate_size: int,
        num_layers: int,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        max_position_embeddings: int,
        rms_norm_eps: float,
        rope_theta: float,
        rope_scaling: RopeScaling | None,
        qkv_bias: bool,
        qk_norm: bool,
        tie_word_embeddings: bool,
    ) -> None: ...

class WeightSpec:
    @property
    def role(self) -> str: ...
    @property
    def parts(self) -> list[list[int]]: ...
    @property
    def shard(self) -> str: ...

def weight_specs(config: DecoderConfig) -> list[WeightSpec]: ...

class DecoderWeights:
    def __init__(self, config: DecoderConfig, dtype: str, context: Context) -> None: ...
    def load(self, role: str, part: int, tensor: Tensor) -> None: ...
    def missing(self) -> list[str]: ...

class SamplingParameter:
    """A line of csrc/ops/sampling/parameters.h; `range` is what a value must be, in words."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def off(self) -> float: ...
    @property
    def range(self) -> str: ...

SAMPLING_PARAMETERS: tuple[SamplingParameter, ...]

class SamplingInputs:
    def __init__(self, **tensors: Tensor | None) -> None: ...

class SamplingOutputs:
    def __init__(
        self,
        *,
        token_ids: Tensor,
        logprobs: Tensor | None = None,
        top_ids: Tensor | None = None,
        top_logprobs: Tensor | None = None,
    ) -> None: ...

class PagedMetadata:
    def __init__(self, block_tables: Tensor, block_size: int) -> None: ...

class CsrMetadata:
    def __init__(self, used_slots: Tensor, row_ptr: Tensor, col_idx: Tensor) -> None: ...

class DecodeRows:
    """The state of csrc/ops/decode_rows, a tensor for each of its fields."""

    def __init__(self, **tensors: Tensor) -> None: ...

class RowChanges:
    def __init__(self, **tensors: Tensor) -> None: ...

class DecodeOperands:
    def __init__(self, **tensors: Tensor) -> None: ...

class ArrayStep:
    def __init__(
        self,
        *,
        input_ids: Tensor,
        positions: Tensor,
        slot_mapping: Tensor,
        cu_seqlens_q: Tensor,
        context_lens: Tensor,
        logits_indices: Tensor,
        attention: PagedMetadata | CsrMetadata,
        changes: RowChanges | None = None,
        token_rows: Tensor | None = None,
        sampling: SamplingInputs | None = None,
        sample_rows: Tensor | None = None,
        sample_lens: Tensor | None = None,
        num_logprobs: int = -1,
        return_logits: bool = False,
    ) -> None: ...

class DecodeStep:
    def __init__(
        self,
        *,
        rows: Tensor,
        changes: RowChanges | None = None,
        sampling: SamplingInputs | None = None,
        num_logprobs: int = -1,
        return_logits: bool = False,
    ) -> None: ...

class StepOutput:
    @property
    def token_ids(self) -> Tensor | None: ...
    @property
    def logprobs(self) -> Tensor | None: ...
    @property
    def top_ids(self) -> Tensor | None: ...
    @property
    def top_logprobs(self) -> Tensor | None: ...
    @property
    def logits(self) -> Tensor | None: ...

class PendingStep:
    def wait(self) -> StepOutput: ...

class Runner:
    def __init__(
        self,
        *,
        weights: DecoderWeights,
        context: Context,
        max_tokens: int,
        max_rows: int,
        max_positions: int,
        max_seqs: int,
        block_size: int,
    ) -> None: ...
    def allocate_kv(self, num_slots: int, dtype: str) -> None: ...
    def capture(self, progress: Callable[[int, int], object] | None = None) -> None: ...
    def step(self, step: ArrayStep) -> PendingStep: ...
    def decode(self, step: DecodeStep) -> PendingStep: ...
    @property
    def free_bytes(self) -> int: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def kv_bytes(self) -> int: ...
    @property
    def workspace_bytes(self) -> int: ...
    @property
    def row_bytes(self) -> int: ...
    @property
    def num_slots(self) -> int: ...

class ops:  # a submodule
    @staticmethod
    def embedding(context: Context, ids: Tensor, table: Tensor, out: Tensor) -> None: ...
    @staticmethod
    def fill_sampled(context: Context, last_token: Tensor, rows: Tensor, ids: Tensor) -> None: ...
    @staticmethod
    def set_rows(context: Context, changes: RowChanges, state: DecodeRows) -> None: ...
    @staticmethod
    def gather_rows(
        context: Context, state: DecodeRows, rows: Tensor, block_size: int, out: DecodeOperands
    ) -> None: ...
    @staticmethod
    def record_samples(
        context: Context,
        rows: Tensor,
        token_ids: Tensor,
        context_lens: Tensor,
        draw_index: Tensor,
        state: DecodeRows,
    ) -> None: ...
    @staticmethod
    def linear(
        context: Context, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor
    ) -> None: ...
    @staticmethod
    def rms_norm(context: Context, x: Tensor, weight: Tensor, eps: float, out: Tensor) -> None: ...
    @staticmethod
    def add_rms_norm(
        context: Context, x: Tensor, residual: Tensor, weight: Tensor, eps: float, out: Tensor
    ) -> None: ...
    @staticmethod
    def rope(context: Context, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor) -> None: ...
    @staticmethod
    def make_rope_table(
        max_positions: int, head_dim: int, theta: float, scaling: RopeScaling | None = None
    ) -> tuple[Tensor, Tensor]: ...
    @staticmethod
    def swiglu(context: Context, gate_up: Tensor, out: Tensor) -> None: ...
    @staticmethod
    def add(context: Context, a: Tensor, b: Tensor, out: Tensor) -> None: ...
    @staticmethod
    def argmax(context: Context, x: Tensor, out: Tensor) -> None: ...
    @staticmethod
    def kv_write(
        context: Context,
        k: Tensor,
        v: Tensor,
        slot_mapping: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
    ) -> None: ...
    @staticmethod
    def self_attention(
        context: Context, q: Tensor, k: Tensor, v: Tensor, scale: float, out: Tensor
    ) -> None: ...
    @staticmethod
    def self_attention_paged(
        context: Context,
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        used_slots: Tensor,
        row_ptr: Tensor,
        col_idx: Tensor,
        scale: float,
        out: Tensor,
    ) -> None: ...
    @staticmethod
    def paged_attention(
        context: Context,
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        block_tables: Tensor,
        context_lens: Tensor,
        cu_seqlens_q: Tensor,
        block_size: int,
        scale: float,
        out: Tensor,
    ) -> None: ...
    @staticmethod
    def sample(
        context: Context, logits: Tensor, inputs: SamplingInputs, outputs: SamplingOutputs
    ) -> None: ...
    @staticmethod
    def rope_kv_write(
        context: Context,
        *,
        qkv: Tensor,
        q_norm: Tensor | None,
        k_norm: Tensor | None,
        eps: float,
        positions: Tensor,
        cos: Tensor,
        sin: Tensor,
        slot_mapping: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
    ) -> None: ...
    @staticmethod
    def attention_input(
        context: Context,
        *,
        residual: Tensor,
        norm: Tensor | None,
        qkv_weight: Tensor,
        qkv_bias: Tensor | None,
        q_norm: Tensor | None,
        k_norm: Tensor | None,
        eps: float,
        positions: Tensor,
        cos: Tensor,
        sin: Tensor,
        slot_mapping: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        normed: Tensor,
        qkv: Tensor,
    ) -> None: ...
    @staticmethod
    def attend(
        context: Context,
        *,
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        metadata: PagedMetadata | CsrMetadata,
        context_lens: Tensor,
        cu_seqlens_q: Tensor,
        scale: float,
        out: Tensor,
    ) -> None: ...
    @staticmethod
    def attention_output(
        context: Context,
        *,
        attention: Tensor,
        o_weight: Tensor,
        o_bias: Tensor | None,
        projected: Tensor,
        residual: Tensor,
        next_norm: Tensor | None = None,
        eps: float = 0.0,
        next_normed: Tensor | None = None,
    ) -> None: ...
    @staticmethod
    def mlp_input(
        context: Context,
        *,
        residual: Tensor,
        norm: Tensor | None,
        eps: float,
        gate_up_weight: Tensor,
        gate_up_bias: Tensor | None,
        normed: Tensor,
        projected: Tensor,
        activated: Tensor,
    ) -> None: ...
    @staticmethod
    def mlp_output(
        context: Context,
        *,
        activated: Tensor,
        down_weight: Tensor,
        down_bias: Tensor | None,
        projected: Tensor,
        residual: Tensor,
        next_norm: Tensor | None = None,
        eps: float = 0.0,
        next_normed: Tensor | None = None,
    ) -> None: ...
    @staticmethod
    def logits(
        context: Context,
        *,
        residual: Tensor,
        indices: Tensor,
        norm: Tensor,
        eps: float,
        head_weight: Tensor,
        head_bias: Tensor | None,
        rows: Tensor,
        out: Tensor,
    ) -> None: ...
