"""Prompts and parameters as they come, checked and made into requests."""

from __future__ import annotations

import random
import time
from itertools import count
from typing import TYPE_CHECKING

from stagegate.core.request import Choice, Request
from stagegate.core.sequence import Sequence
from stagegate.errors import CapacityError, InvalidRequestError
from stagegate.structured.grammar_matcher import GrammarCompiler
from stagegate.text.detokenizer import Detokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagegate.sampling import SamplingParams
    from stagegate.structured.grammar_matcher import GrammarMatcher
    from stagegate.text.tokenizer import Tokenizer

_INT64_RANGE = 1 << 64
# 2^64 divided by the golden ratio: spreads the seeds of a request's sequences over all 64 bits.
_SEED_STRIDE = 0x9E3779B97F4A7C15


class InputProcessor:
    """Makes requests, from any thread.

    check_capacity: raises CapacityError for a number of tokens that can never be served.
    seed: of the seeds of requests that name none.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        vocab_size: int,
        eos_token_ids: tuple[int, ...],
        max_model_len: int,
        seed: int | None,
        check_capacity: Callable[[int], None],
    ) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self.eos_token_ids = eos_token_ids
        self._max_model_len = max_model_len
        self._check_capacity = check_capacity
        self._grammar_compiler = GrammarCompiler(tokenizer, vocab_size, eos_token_ids)
        self._ids = count()
        self._seeds = random.Random(seed)

    def make_request(
        self,
        prompt: str | list[int],
        params: SamplingParams,
        *,
        request_id: str | None,
        priority: int,
    ) -> Request:
        """Check and tokenise a prompt.

        Raises InvalidRequestError for a prompt or parameter that cannot be served, CapacityError
        for a prompt that can never fit.
        """
        arrival = time.perf_counter()
        if request_id is None:
            request_id = str(next(self._ids))
        token_ids = self._tokens_of(prompt)
        self._check_params(params)
        room = self._max_model_len - len(token_ids)
        if room < 1:
            msg = (
                f"the prompt has {len(token_ids)} tokens and needs room for one more, but "
                f"max_model_len is {self._max_model_len}; shorten the prompt"
            )
            raise CapacityError(msg, parameter="prompt")
        self._check_capacity(len(token_ids))
        seed = self._seeds.getrandbits(64) if params.seed is None else params.seed
        return Request(
            request_id=request_id,
            prompt=prompt if isinstance(prompt, str) else None,
            prompt_token_ids=token_ids,
            params=params,
            arrival=arrival,
            choices=[
                Choice(
                    self._sequence(
                        token_ids, params, index, seed=seed, room=room, priority=priority
                    ),
                    Detokenizer(self._tokenizer, skip_special_tokens=params.skip_special_tokens),
                    params,
                )
                for index in range(params.n)
            ],
        )

    def _sequence(
        self,
        token_ids: list[int],
        params: SamplingParams,
        index: int,
        *,
        seed: int,
        room: int,
        priority: int,
    ) -> Sequence:
        """The index-th of a request."""
        return Sequence(
            next(self._ids),
            token_ids,
            params,
            eos_token_ids=self.eos_token_ids,
            seed=_as_int64(seed + index * _SEED_STRIDE),
            priority=priority,
            max_tokens=room if params.max_tokens is None else min(params.max_tokens, room),
            prompt_logprobs=index == 0 and params.prompt_logprobs is not None,
            grammar_matcher=self._grammar_matcher(params),
        )

    def _grammar_matcher(self, params: SamplingParams) -> GrammarMatcher | None:
        if params.grammar is None:
            return None
        return self._grammar_compiler.matcher(
            params.grammar, special_tags=params.skip_special_tokens
        )

    def _tokens_of(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, str):
            token_ids = self._tokenizer.encode(prompt)
        elif isinstance(prompt, list) and set(map(type, prompt)) <= {int}:
            token_ids = list(prompt)
        else:
            msg = f"a prompt is text or a list of token ids, got {type(prompt).__name__}"
            raise InvalidRequestError(msg, parameter="prompt")
        if not token_ids:
            msg = "the prompt is empty; give at least one token"
            raise InvalidRequestError(msg, parameter="prompt")
        self._check_tokens(token_ids, "prompt")
        return token_ids

    def _check_params(self, params: SamplingParams) -> None:
        self._check_tokens(list(params.stop_token_ids), "stop_token_ids")
        self._check_tokens(list(params.logit_bias), "logit_bias")
        for name in ("logprobs", "prompt_logprobs"):
            wanted = getattr(params, name)
            if wanted is not None and wanted > self._vocab_size:
                msg = f"{name}={wanted} is more than the {self._vocab_size} tokens"
                raise InvalidRequestError(msg, parameter=name)

    def _check_tokens(self, token_ids: list[int], parameter: str) -> None:
        if not token_ids or (min(token_ids) >= 0 and max(token_ids) < self._vocab_size):
            return
        unknown = next(token for token in token_ids if not 0 <= token < self._vocab_size)
        msg = (
            f"{parameter} names token {unknown}, but the vocabulary of the model has "
            f"{self._vocab_size} tokens"
        )
        raise InvalidRequestError(msg, parameter=parameter)


def _as_int64(value: int) -> int:
    """The signed 64-bit integer with the low bits of `value`."""
    value %= _INT64_RANGE
    return value - _INT64_RANGE if value >= _INT64_RANGE // 2 else value
