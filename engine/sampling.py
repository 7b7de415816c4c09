"""How the tokens of a request are chosen, and when it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from engine.guidance import Guidance

MAX_LOGPROBS = 20
MAX_STOP_STRINGS = 16
_INT64 = 1 << 63
_LEAST_F32 = 2.0**-126


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Sampling parameters of one request, in the words of the OpenAI API and vLLM.

    Raises InvalidRequestError naming the parameter that is out of range.

    n: sequences to generate for the prompt.
    max_tokens: most tokens to generate; None means up to the model's length.
    min_tokens: tokens to generate before an end-of-sequence or stop token may come.
    temperature: 0 is greedy.
    top_k: sample among the k most likely tokens; 0 is off.
    top_p: sample among the most likely tokens that together reach this probability; 1 is off.
    min_p: drop tokens less likely than this share of the most likely one; 0 is off.
    repetition_penalty: divides positive and multiplies negative logits of every token seen in the
        prompt or output (Keskar et al., 2019); 1 is off.
    presence_penalty, frequency_penalty: subtracted once, or per occurrence, from the logits of
        generated tokens (OpenAI API reference); 0 is off.
    logit_bias: token id to what is added to its logit.
    seed: the same seed draws the same tokens whatever else runs; None lets the engine pick one.
    stop: strings that end the text. A special token counts with its text there, even where it is
        left out of the text; so one that is a stop string ends the text like a stop token.
    stop_token_ids: tokens that end the text, beside the model's own.
    include_stop_str_in_output: leave the stop string at the end of the text.
    ignore_eos: go on past the model's end-of-sequence tokens.
    logprobs: report the log-probability of each token and of this many most likely ones.
    prompt_logprobs: the same for the tokens of the prompt, each behind those before it; the prompt
        is computed in full then, whatever the prefix cache has.
    skip_special_tokens: leave special tokens out of the text.
    guidance: the form the text has to fit; it ends when nothing more fits, and before min_tokens if
        it is complete then. With ignore_eos it goes on as long as the form can.
    """

    n: int = 1
    max_tokens: int | None = 16
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: str | Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    skip_special_tokens: bool = True
    guidance: Guidance | None = None

    def __post_init__(self) -> None:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        object.__setattr__(self, "stop", stop)
        object.__setattr__(self, "stop_token_ids", tuple(self.stop_token_ids))
        object.__setattr__(self, "logit_bias", dict(self.logit_bias))
        self._check_lengths()
        self._check_distribution()
        self._check_tokens()

    def _check_lengths(self) -> None:
        self._integer("n", 1, 128)
        if self.max_tokens is not None:
            self._integer("max_tokens", 1)
        self._integer("min_tokens", 0)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            self._refuse("min_tokens", f"at most max_tokens={self.max_tokens}")
        for name in ("logprobs", "prompt_logprobs"):
            if getattr(self, name) is not None:
                self._integer(name, 0, MAX_LOGPROBS)
        if self.seed is not None:
            self._integer("seed", -_INT64, _INT64 - 1)

    def _check_distribution(self) -> None:
        self._number("temperature", 0.0, 100.0)
        self._integer("top_k", 0, (1 << 31) - 1)
        self._number("top_p", 0.0, 1.0)
        if self.top_p < _LEAST_F32:  # 0 for the core
            self._refuse("top_p", "above 0; use temperature=0 for greedy")
        self._number("min_p", 0.0, 1.0)
        # Far smaller ones would make logits infinite.
        self._number("repetition_penalty", 0.01, 100.0)
        self._number("presence_penalty", -2.0, 2.0)
        self._number("frequency_penalty", -2.0, 2.0)

    def _check_tokens(self) -> None:
        if len(self.stop) > MAX_STOP_STRINGS:
            self._refuse("stop", f"at most {MAX_STOP_STRINGS} strings")
        if any(not isinstance(text, str) or not text for text in self.stop):
            self._refuse("stop", "made of non-empty strings")
        if any(not _is_token(token) for token in self.stop_token_ids):
            self._refuse("stop_token_ids", "made of token ids")
        for token, bias in self.logit_bias.items():
            if not _is_token(token):
                self._refuse("logit_bias", "keyed by token ids")
            if not _is_number(bias) or not -100.0 <= bias <= 100.0:
                self._refuse("logit_bias", "made of numbers from -100 to 100")

    def _integer(self, name: str, low: int, high: int | None = None) -> None:
        value = getattr(self, name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < low or (high is not None and value > high):
            bound = f"at least {low}" if high is None else f"from {low} to {high}"
            self._refuse(name, f"an integer {bound}")

    def _number(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not _is_number(value) or not low <= value <= high:
            self._refuse(name, f"a number from {low:g} to {high:g}")

    def _refuse(self, name: str, wanted: str) -> None:
        msg = f"{name} must be {wanted}, got {getattr(self, name)!r}"
        raise InvalidRequestError(msg, parameter=name)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31
