"""The engine requests of an HTTP request, and their results."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stagegate.errors import InvalidRequestError
from stagegate.server.openai.merging import merged
from stagegate.server.openai.responses import PromptTokensDetails, UsageInfo

if TYPE_CHECKING:
    from starlette.requests import Request

    from stagegate.outputs import RequestDelta, Usage
    from stagegate.sampling import SamplingParams
    from stagegate.server.http.models import ServedModel

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

NumberedDelta = tuple[int, "RequestDelta"]


@dataclass(frozen=True, slots=True)
class Generation:
    """One engine request for every prompt.

    request_id: the id in the answer. client_id: the client's own id, if it sent one.
    created: seconds since 1970.
    """

    model: ServedModel
    request_id: str
    client_id: str | None
    prompts: Sequence[list[int]]
    params: SamplingParams
    priority: int
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def engine_ids(self) -> list[str]:
        return [f"{self.request_id}-{index}" for index in range(len(self.prompts))]

    async def deltas(self) -> AsyncGenerator[NumberedDelta, None]:
        """Deltas of the engine requests, each with the number of its prompt.

        Raises the engine's errors on submission, and the error of a failed step. Closing the
        generator cancels unfinished requests.
        """
        streams = [
            self.model.client.generate(
                prompt, self.params, request_id=engine_id, priority=self.priority
            )
            for prompt, engine_id in zip(self.prompts, self.engine_ids, strict=True)
        ]
        async with aclosing(merged(streams)) as deltas:
            async for index, delta in deltas:
                if delta.error is not None:
                    raise delta.error
                yield index, delta


class UsageCount:
    """Tokens of all prompts of a request."""

    def __init__(self) -> None:
        self._of_prompt: dict[int, Usage] = {}

    def add(self, prompt_index: int, delta: RequestDelta) -> None:
        self._of_prompt[prompt_index] = delta.usage

    def total(self) -> UsageInfo:
        usages = self._of_prompt.values()
        prompt_tokens = sum(usage.prompt_tokens for usage in usages)
        completion_tokens = sum(usage.completion_tokens for usage in usages)
        return UsageInfo(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            prompt_tokens_details=PromptTokensDetails(
                cached_tokens=sum(usage.cached_tokens for usage in usages)
            ),
        )


def request_ids(request: Request, prefix: str, stated: str | None) -> tuple[str, str | None]:
    """A new id for a request, after a prefix, and the client's own: the header X-Request-Id, or as
    stated in the body."""
    own = request.headers.get("x-request-id", stated)
    if own is not None and not _REQUEST_ID.fullmatch(own):
        msg = "X-Request-Id must be 1 to 128 letters, digits, dots, dashes and underscores"
        raise InvalidRequestError(msg, parameter="X-Request-Id")
    return f"{prefix}{uuid.uuid4().hex}", own
