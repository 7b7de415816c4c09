"""How an engine is set up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from stagegate.errors import ConfigError

DEVICES = ("cpu", "cuda")
DTYPES = ("auto", "f32", "f16", "bf16")
KV_LAYOUTS = ("block", "slot")
ATTENTION_BACKENDS = ("native", "csr", "flashinfer")
LINEAR_BACKENDS = ("auto", "composed")

# Log-probabilities of a prompt take a row of logits a token. Fewer rows would cost more steps, more
# would take memory whether anybody asks for them or not: a row is as wide as the vocabulary.
_MIN_LOGITS_ROWS = 32
# By device; a step of a CPU costs in proportion from few rows on.
_STEP_TOKENS = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Settings of one engine. Raises ConfigError naming the value that is out of range.

    model: folder with a Hugging Face checkpoint.
    dtype: of weights, activations and KV cache; auto takes the checkpoint's.
    kv_layout: where keys and values live: paged blocks with a prefix cache, or single-token cells.
    attention_backend: native takes block tables under the block layout. csr lists every visible
        slot, as the slot layout does for all but decodes. flashinfer takes block tables to the
        kernels of FlashInfer: on a GPU, in a build with them, in f16 or bf16.
    linear_backend: what computes the blocks of a layer that multiply by a weight. auto takes the
        fastest form for each batch size: a kernel that fuses a whole block where there is one for
        the device, the dtype and the model. composed runs the primitive operators one by one, to
        compare with.
    block_size: tokens per block of the block layout.
    kv_capacity_tokens: room in the KV storage; None sizes it by kv_memory.
    kv_memory: memory for the KV storage, a float from 0 to 1 as a share of what is free once
        weights and workspace are in place, or a number of bytes; None: 0.9 of a GPU, half of a
        host. 512 MiB of what a GPU has free are for steps and do not count.
    max_model_len: longest sequence, prompt and output together; None takes the checkpoint's.
    max_num_batched_tokens: tokens of one step, decode and prefill chunks together; None: 8192 on a
        GPU, which more rows keep busy, 2048 on the CPU.
    max_num_seqs: sequences that run at the same time.
    max_tpot_ms: how long a step with decodes may take, and so the time between two tokens of a
        text: prompts that share the step get as many tokens as fit, by the times of the steps
        before, and at least 16. None: as many as max_num_batched_tokens lets them have.
    num_threads: threads of the CPU operators; None takes every processor the process may use.
    deterministic: a result never depends on what else is in the batch, so that a seed gives the
        same text in any company (under csr up to the rounding of attention, whose keys come in the
        order of their slots). Off, matrix products go to a library that may sum in another order
        for another batch, and is faster; None: on for the CPU, off for a GPU.
    seed: where requests without a seed of their own draw theirs from.
    """

    model: Path
    device: str = "cpu"
    dtype: str = "auto"
    kv_layout: str = "block"
    attention_backend: str = "native"
    linear_backend: str = "auto"
    block_size: int = 16
    kv_capacity_tokens: int | None = None
    kv_memory: float | int | None = None
    max_model_len: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int = 256
    max_tpot_ms: float | None = None
    enable_prefix_cache: bool = True
    num_threads: int | None = None
    deterministic: bool | None = None
    seed: int = 0

    @property
    def max_logits_rows(self) -> int:
        """Rows of logits of one step: one a sequence, or a chunk of prompt log-probabilities."""
        return max(self.max_num_seqs, min(self.step_tokens, _MIN_LOGITS_ROWS))

    @property
    def step_tokens(self) -> int:
        """max_num_batched_tokens, stated or the device's."""
        stated = self.max_num_batched_tokens
        return _STEP_TOKENS[self.device] if stated is None else stated

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", Path(self.model))
        if self.deterministic is None:
            object.__setattr__(self, "deterministic", self.device == "cpu")
        self._one_of("device", DEVICES)
        self._one_of("dtype", DTYPES)
        self._one_of("kv_layout", KV_LAYOUTS)
        self._one_of("attention_backend", ATTENTION_BACKENDS)
        self._one_of("linear_backend", LINEAR_BACKENDS)
        if self.attention_backend == "flashinfer":
            self._flashinfer_can()
        for name in ("block_size", "max_num_seqs"):
            self._positive(name)
        for name in (
            *("kv_capacity_tokens", "max_model_len", "num_threads"),
            "max_num_batched_tokens",
        ):
            if getattr(self, name) is not None:
                self._positive(name)
        if self.kv_memory is not None and not _is_memory(self.kv_memory):
            msg = (
                "kv_memory must be a share above 0.0 and at most 1.0, or a number of bytes, "
                f"got {self.kv_memory!r}"
            )
            raise ConfigError(msg)
        if self.max_tpot_ms is not None and not _is_duration(self.max_tpot_ms):
            msg = (
                "max_tpot_ms must be a positive number of milliseconds, or None for no limit, "
                f"got {self.max_tpot_ms!r}"
            )
            raise ConfigError(msg)
        if self.step_tokens < self.max_num_seqs:
            # Otherwise a full set of decoding sequences could not advance in one step.
            object.__setattr__(self, "max_num_seqs", self.step_tokens)

    def _one_of(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            msg = f"{name} must be one of {', '.join(choices)}, got {value!r}"
            raise ConfigError(msg)

    def _flashinfer_can(self) -> None:
        """How it cuts the keys of a sequence depends on the others: it is never deterministic."""
        wanted = {
            "device": ("cuda",),
            "kv_layout": ("block",),
            "dtype": ("auto", "f16", "bf16"),
            "deterministic": (False,),
        }
        for name, choices in wanted.items():
            if getattr(self, name) not in choices:
                msg = (
                    f"attention_backend='flashinfer' needs {name} "
                    f"{' or '.join(map(repr, choices))}, got {getattr(self, name)!r}; change that, "
                    "or use attention_backend='native'"
                )
                raise ConfigError(msg)
        from stagegate.native import _C

        if _C.build_info()["flashinfer"] is None:
            msg = (
                "attention_backend='flashinfer': this build has no FlashInfer; build with it "
                "(nox -s build-cuda -- --flashinfer), or use attention_backend='native'"
            )
            raise ConfigError(msg)

    def _positive(self, name: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            msg = f"{name} must be a positive integer, got {value!r}"
            raise ConfigError(msg)


def _is_memory(value: object) -> bool:
    if isinstance(value, float):
        return 0 < value <= 1
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_duration(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 < value < math.inf
