"""The offline cases of stage 6: what each asks of an engine, and what its times say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# The tiny model of a CPU has a sixteenth of the lengths and an eighth of the requests.
CPU_LENGTH_DIVISOR = 16
CPU_BATCH_DIVISOR = 8

_RAGGED_REQUESTS = 256
_RAGGED_LENGTHS = (100, 1024)
# Of a sequence: the rest of its last block, and a block for steps in flight.
_SPARE_TOKENS = 32


@dataclass(frozen=True)
class Request:
    """Tokens of a prompt, and tokens to generate for it, whatever they are."""

    prompt_len: int
    output_len: int


@dataclass(frozen=True)
class ThroughputCase:
    """A batch of requests that arrive together.

    metric: the one that speaks for the case. decode_only: the time of the first tokens is taken off
    the time of all of them. stream: cases of different streams have different prompts.
    """

    name: str
    metric: str
    requests: tuple[Request, ...]
    decode_only: bool = False
    stream: int = 0

    @property
    def has_first_tokens(self) -> bool:
        """Whether its figures take the time of the same requests with one token each."""
        return len({request.output_len for request in self.requests}) == 1 and self.output_len > 1

    @property
    def output_len(self) -> int:
        return max(request.output_len for request in self.requests)

    @property
    def prompt_tokens(self) -> int:
        return sum(request.prompt_len for request in self.requests)

    @property
    def output_tokens(self) -> int:
        return sum(request.output_len for request in self.requests)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, prompt and output."""
        return max(request.prompt_len + request.output_len for request in self.requests)

    @property
    def kv_tokens(self) -> int:
        """Room in the KV cache with which no sequence has to give up its place."""
        return self.prompt_tokens + self.output_tokens + _SPARE_TOKENS * len(self.requests)

    def prompts(self, index: int, vocab_size: int) -> list[list[int]]:
        """Token ids of a round, from -1 on. Rounds differ, so that no prefix cache knows them."""
        rng = np.random.default_rng([self.stream, index + 1])
        return [
            rng.integers(0, vocab_size, request.prompt_len).tolist() for request in self.requests
        ]

    def params(self) -> dict[str, int]:
        """The work in numbers, as a record has it."""
        return {
            "requests": len(self.requests),
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
        }

    def one_token(self) -> ThroughputCase:
        """The same requests with one token each, and other prompts of the same lengths."""
        requests = tuple(Request(request.prompt_len, 1) for request in self.requests)
        return ThroughputCase(self.name, self.metric, requests, stream=1)

    def measured_seconds(self, seconds: float, first_seconds: float | None) -> float | None:
        """What the case is about, of the times that `figures` takes.

        None for a decode whose first tokens alone took longer: the host was disturbed.
        """
        if not self.decode_only:
            return seconds
        if first_seconds is None:
            msg = f"case {self.name} is a decode: it takes the time of its first tokens too"
            raise ValueError(msg)
        return seconds - first_seconds if first_seconds < seconds else None

    def figures(
        self, seconds: float, first_seconds: float | None = None
    ) -> dict[str, float | None]:
        """The metrics of a round; None where it could not give them.

        seconds: of all requests. first_seconds: of the same requests with one token each.
        """
        found: dict[str, float | None] = {}
        took = self.measured_seconds(seconds, first_seconds)
        if first_seconds is not None and self.has_first_tokens:
            found["ttft_ms"] = 1e3 * first_seconds
            decoded = 1e3 * (seconds - first_seconds) / (self.output_len - 1)
            found["tpot_ms"] = decoded if decoded > 0 else None
        if self.metric == "ttft_ms":
            found["ttft_ms"] = 1e3 * seconds
        else:
            found[self.metric] = None if took is None else self._counted_tokens / took
        return found

    @property
    def _counted_tokens(self) -> int:
        """Those that a rate is of."""
        if self.metric == "prefill_tok_s":
            return self.prompt_tokens
        return self.output_tokens - (len(self.requests) if self.decode_only else 0)


def throughput_cases(
    *, length_divisor: int = 1, batch_divisor: int = 1
) -> Mapping[str, ThroughputCase]:
    """All cases by name.

    A: one sequence. B: eight. E64, E256: the decode of so many, without their prefill. C: requests
    of any length. D: prefill. T1024: the first token of one prompt.
    The divisors make the same cases for a model and a machine that are so much smaller.
    """

    def same(count: int, prompt_len: int, output_len: int) -> tuple[Request, ...]:
        request = Request(shortened(prompt_len), shortened(output_len))
        return (request,) * max(1, count // batch_divisor)

    def shortened(length: int) -> int:
        return max(1, length // length_divisor)

    low, high = map(shortened, _RAGGED_LENGTHS)
    lengths = np.random.default_rng(0).integers(
        low, high + 1, (max(1, _RAGGED_REQUESTS // batch_divisor), 2)
    )
    ragged = tuple(Request(*pair) for pair in lengths.tolist())
    rate = "tokens_per_sec"
    cases = (
        ThroughputCase("A", rate, same(1, 128, 256)),
        ThroughputCase("B", rate, same(8, 256, 256)),
        # A token more than is decoded: the first is the prefill's.
        ThroughputCase("E64", rate, same(64, 960, 129), decode_only=True),
        ThroughputCase("E256", rate, same(256, 960, 129), decode_only=True),
        ThroughputCase("C", rate, ragged),
        ThroughputCase("D", "prefill_tok_s", same(64, 4096, 1)),
        ThroughputCase("T1024", "ttft_ms", same(1, 1024, 1)),
    )
    return {case.name: case for case in cases}


def cases_for(device: str) -> Mapping[str, ThroughputCase]:
    """The cases in the size that a device is measured with."""
    if device == "cpu":
        return throughput_cases(length_divisor=CPU_LENGTH_DIVISOR, batch_divisor=CPU_BATCH_DIVISOR)
    return throughput_cases()
