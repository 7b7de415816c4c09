"""How the tokens of a request are chosen, and when it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from stagegate.errors import InvalidRequestError

MAX_LOGPROBS = 20
MAX_STOP_STRINGS = 16
_INT64 = 1 << 63
_LEAST_F32 = 2.0**-126
_RANGE = "range"


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers a parameter may be, both ends included unless `above` leaves out the lower.

    high: None is no limit. integer: whole numbers alone. per_row: the core takes one value for each
    row of logits, i32 if it is an integer and else f32.
    """

    low: float
    high: float | None
    integer: bool
    above: bool = False
    per_row: bool = False

    def __contains__(self, value: object) -> bool:
        if not (_is_integer(value) if self.integer else _is_number(value)):
            return False
        assert isinstance(value, int | float)
        least = max(self.low, _LEAST_F32) if self.above else self.low  # less is 0 for the core
        return value >= least and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        kind = "an integer" if self.integer else "a number"
        if self.high is None:
            return f"{kind} at least {self.low}"
        if self.above:
            return f"{kind} above {self.low:g} and at most {self.high:g}"
        return f"{kind} from {_shown(self.low)} to {_shown(self.high)}"


def _integer(
    default: int | None, low: int, high: int | None = None, *, per_row: bool = False
) -> Any:
    span = Range(low, high, integer=True, per_row=per_row)
    return field(default=default, metadata={_RANGE: span})


def _number(default: float, low: float, high: float, *, above: bool = False) -> Any:
    span = Range(low, high, integer=False, above=above, per_row=True)
    return field(default=default, metadata={_RANGE: span})


@dataclass(frozen=True, slots=True)
class GrammarDescription:
    """A grammar that generated text must match, as the constructors of
    `stagegate.structured.grammar.Grammar` make it; the text ends when nothing more can follow.

    grammars: the input of llguidance, a JSON object whose "grammars" are in Lark or JSON Schema.
    The text matches the first, which may refer to the others.
    """

    grammars: str


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
    seed: the same seed samples the same tokens whatever else runs; None lets the engine pick one.
    stop: strings that end the text. A special token counts with its text there, even where it is
        left out of the text; so one that is a stop string ends the text like a stop token.
    stop_token_ids: tokens that end the text, beside the model's own.
    include_stop_str_in_output: leave the stop string at the end of the text.
    ignore_eos: go on past the model's end-of-sequence tokens.
    logprobs: report the log-probability of each token and of this many most likely ones.
    prompt_logprobs: the same for the tokens of the prompt, each behind those before it; the prompt
        is computed in full then, whatever the prefix cache has.
    skip_special_tokens: leave special tokens out of the text.
    grammar: the text must match it. The text ends when nothing more can follow, even before
        min_tokens. With ignore_eos it continues as long as the grammar allows.
    """

    # The fields with per_row are the table of the core, csrc/ops/sampling/parameters.h.
    n: int = _integer(1, 1, 128)
    max_tokens: int | None = _integer(16, 1)
    min_tokens: int = _integer(0, 0)
    temperature: float = _number(1.0, 0, 100)
    top_k: int = _integer(0, 0, (1 << 31) - 1, per_row=True)
    top_p: float = _number(1.0, 0, 1, above=True)
    min_p: float = _number(0.0, 0, 1)
    # Far smaller ones would make logits infinite.
    repetition_penalty: float = _number(1.0, 0.01, 100)
    presence_penalty: float = _number(0.0, -2, 2)
    frequency_penalty: float = _number(0.0, -2, 2)
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = _integer(None, -_INT64, _INT64 - 1)
    stop: str | Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    logprobs: int | None = _integer(None, 0, MAX_LOGPROBS)
    prompt_logprobs: int | None = _integer(None, 0, MAX_LOGPROBS)
    skip_special_tokens: bool = True
    grammar: GrammarDescription | None = None

    def __post_init__(self) -> None:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        object.__setattr__(self, "stop", stop)
        object.__setattr__(self, "stop_token_ids", tuple(self.stop_token_ids))
        object.__setattr__(self, "logit_bias", dict(self.logit_bias))
        self._check_numbers()
        self._check_tokens()

    @property
    def has_penalty(self) -> bool:
        """Whether the logits of a token depend on where it has been before."""
        return (
            self.repetition_penalty != 1.0
            or self.presence_penalty != 0.0
            or self.frequency_penalty != 0.0
        )

    def _check_numbers(self) -> None:
        for name, span in RANGES.items():
            value = getattr(self, name)
            if value is None and name in _MAY_BE_NONE:
                continue
            if value not in span:
                greedy = "; use temperature=0 for greedy" if name == "top_p" else ""
                self._refuse(name, f"{span}{greedy}")
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            self._refuse("min_tokens", f"at most max_tokens={self.max_tokens}")

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

    def _refuse(self, name: str, wanted: str) -> None:
        msg = f"{name} must be {wanted}, got {getattr(self, name)!r}"
        raise InvalidRequestError(msg, parameter=name)


# Of every parameter that is a number, by its name; and of those that the core takes for each row.
RANGES: Final[dict[str, Range]] = {
    part.name: part.metadata[_RANGE] for part in fields(SamplingParams) if _RANGE in part.metadata
}
ROW_RANGES: Final = {name: span for name, span in RANGES.items() if span.per_row}
DEFAULTS: Final[dict[str, Any]] = {
    part.name: part.default for part in fields(SamplingParams) if part.name in RANGES
}
_MAY_BE_NONE: Final = frozenset(("max_tokens", "seed", "logprobs", "prompt_logprobs"))


def _shown(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31
