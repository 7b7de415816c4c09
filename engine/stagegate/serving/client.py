"""The interface of an engine to a server, independent of the process that runs the engine."""

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
    """An engine as the server sees it.

    Text processing (tokenizer, chat template, recommended parameters) happens here, on the side of
    the server. Results are plain data whose times are durations, so that they have the same meaning
    in another process.
    """

    @property
    def model_path(self) -> Path:
        """Folder of the checkpoint."""

    @property
    def max_model_len(self) -> int:
        """Maximum number of tokens of a sequence, including its prompt."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def chat_template(self) -> ChatTemplate:
        """Raises TokenizerError if the checkpoint has none."""

    def default_sampling_params(self, *, max_tokens: int | None) -> SamplingParams:
        """The parameters recommended by the model's authors; max_tokens as in LLMEngine."""

    async def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of a text. Raises InvalidRequestError for text that is not valid UTF-8."""

    def start(self) -> None:
        """Start accepting requests; idempotent. Raises EngineDeadError if the engine has ended."""

    async def drain(self, timeout_s: float | None = None) -> bool:
        """Refuse new requests and wait for the open ones to end; False on timeout."""

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
        """Abort a request; its stream gets a last delta. False if no such request is open."""

    def is_healthy(self, stall_s: float) -> bool:
        """False if the engine has ended, or made no step for `stall_s` seconds with work queued."""

    def stats(self) -> EngineStats:
        """Counters as of the last step; requests submitted since then count as waiting."""

    def histograms(self) -> EngineHistograms:
        """Totals since the start."""
