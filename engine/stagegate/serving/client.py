"""What a server knows of an engine, whichever process that runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from stagegate.core.engine_stats import EngineHistograms, EngineStats
    from stagegate.outputs import RequestDelta
    from stagegate.sampling import SamplingParams
    from stagegate.text.chat_template import ChatTemplate
    from stagegate.text.tokenizer import Tokenizer


class EngineClient(Protocol):
    """One engine, from the outside.

    What is about text (tokenizer, chat template, recommended parameters) is here, on the side of
    the server; what comes back is plain data whose times are durations, so that it means the same
    in another process.
    """

    @property
    def model_path(self) -> Path:
        """Folder of the checkpoint."""

    @property
    def max_model_len(self) -> int:
        """Most tokens of a sequence, its prompt included."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def chat_template(self) -> ChatTemplate:
        """Raises TokenizerError when the checkpoint has none."""

    def default_sampling_params(self, *, max_tokens: int | None) -> SamplingParams:
        """What the model's authors recommend; max_tokens as in LLMEngine."""

    async def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of a text. Raises InvalidRequestError for text that has no UTF-8 form."""

    def start(self) -> None:
        """Begin to take requests; again is harmless. Raises EngineDeadError when it has ended."""

    async def drain(self, timeout_s: float | None = None) -> bool:
        """Refuse new requests and wait until those that are open end; False when time ran out."""

    def close(self) -> None:
        """End the engine and wait for it. Open requests end with finish reason "abort"."""

    def generate(
        self,
        prompt: str | list[int],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
    ) -> AsyncGenerator[RequestDelta, None]:
        """Stream one request; closing the generator aborts it. Errors are those of AsyncLLM."""

    async def abort(self, request_id: str) -> bool:
        """End a request; its stream gets a last delta. False when no such request is open."""

    def is_healthy(self, stall_s: float) -> bool:
        """False when the engine has ended, or no step for `stall_s` seconds with work queued."""

    def stats(self) -> EngineStats:
        """As of the last step; what was submitted since counts as waiting."""

    def histograms(self) -> EngineHistograms:
        """Since the start."""
