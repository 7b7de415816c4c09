"""generation_config.json: the sampling defaults and end tokens recommended by model authors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stagegate.models.json_object import JsonObject
from stagegate.sampling import MAX_STOP_STRINGS, SamplingParams

FILE_NAME = "generation_config.json"

_READ: Final = frozenset((
    "do_sample", "eos_token_id", "max_new_tokens", "min_new_tokens", "min_p", "repetition_penalty",
    "stop_strings", "temperature", "top_k", "top_p",
))  # fmt: skip
# Unsupported keys that would change the text, with the values that change nothing.
_NEUTRAL: Final[dict[str, tuple[object, ...]]] = {
    "assistant_ensemble_weight": (),
    "bad_words_ids": ([],),
    "begin_suppress_tokens": ([],),
    "constraints": ([],),
    "dola_layers": (),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "exponential_decay_length_penalty": (),
    "force_words_ids": ([],),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "guidance_scale": (1,),
    "min_length": (0,),
    "no_repeat_ngram_size": (0,),
    "num_beam_groups": (1,),
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "penalty_alpha": (0,),
    "sequence_bias": ({}, []),
    "suppress_tokens": ([],),
    "token_healing": (False,),
    "watermarking_config": (),
}
# The same, but only for sampling: greedy decoding does not depend on them.
_NEUTRAL_SAMPLING: Final[dict[str, tuple[object, ...]]] = {
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "top_h": (),
    "typical_p": (1,),
}
# Keys that change nothing here; docs/checkpoints.md has the reasons.
_IRRELEVANT: Final = frozenset((
    "_commit_hash", "_from_model_config", "assistant_confidence_threshold", "assistant_early_exit",
    "assistant_lookbehind", "bos_token_id", "cache_config", "cache_implementation", "chat_format",
    "compile_config", "continuous_batching_config", "decoder_start_token_id", "disable_compile",
    "diversity_penalty", "early_stopping", "is_assistant", "length_penalty", "low_memory",
    "max_cache_len", "max_matching_ngram_size", "num_assistant_tokens",
    "num_assistant_tokens_schedule", "output_attentions", "output_hidden_states", "output_logits",
    "output_scores", "pad_token_id", "prefill_chunk_size", "prompt_lookup_num_tokens",
    "remove_invalid_values", "renormalize_logits", "return_dict_in_generate", "speculation_type",
    "target_lookbehind", "transformers_version", "use_cache", "use_mtp",
))  # fmt: skip
KNOWN_KEYS: Final = _READ | _IRRELEVANT | _NEUTRAL.keys() | _NEUTRAL_SAMPLING.keys()


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """Sampling defaults of a checkpoint, with the meaning of SamplingParams.

    A key that the file omits is neutral here. Hugging Face uses its own defaults, such as top_k 50,
    which do not come from the model's authors.
    """

    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0
    top_k: int = 0  # 0 is no limit
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_new_tokens: int | None = None  # None leaves it to the caller
    min_new_tokens: int = 0
    stop_strings: tuple[str, ...] = ()
    eos_token_ids: tuple[int, ...] = ()

    @classmethod
    def read(cls, model: Path) -> GenerationConfig:
        """The file in the checkpoint folder `model`; all defaults if there is none.

        As in Hugging Face, `do_sample: false` is greedy regardless of the sampling keys. Raises
        ModelError naming a value outside its range, or a key that would change the text in an
        unsupported way. Keys that are not read, such as max_length and max_time, are named in the
        log.
        """
        path = model / FILE_NAME
        if not path.exists():
            return cls()
        stated = JsonObject.read(path)
        greedy = not stated.flag("do_sample", default=True)
        _refuse(stated, _NEUTRAL if greedy else _NEUTRAL | _NEUTRAL_SAMPLING)
        stated.log_unread(KNOWN_KEYS)
        # Checked even if greedy ignores them: a value out of its range means a damaged file.
        sampling: dict[str, Any] = {
            "temperature": _number(stated, "temperature", 0, 100, default=1.0),
            "top_p": _number(stated, "top_p", 1e-6, 1, default=1.0),
            "top_k": stated.integer("top_k", at_least=0, default=0),
            "min_p": _number(stated, "min_p", 0, 1, default=0.0),
        }
        return cls(
            **({"temperature": 0.0} if greedy else sampling),
            repetition_penalty=_number(stated, "repetition_penalty", 0.01, 100, default=1.0),
            max_new_tokens=(
                stated.integer("max_new_tokens", at_least=1) if "max_new_tokens" in stated else None
            ),
            min_new_tokens=stated.integer("min_new_tokens", at_least=0, default=0),
            stop_strings=_stop_strings(stated),
            eos_token_ids=stated.token_ids("eos_token_id"),
        )

    def sampling_params(self, *, max_tokens: int | None) -> SamplingParams:
        """What the model's authors recommend.

        max_tokens: None is their max_new_tokens, or up to the model's length if they have none.
        """
        if max_tokens is None:
            max_tokens = self.max_new_tokens
        min_tokens = self.min_new_tokens
        return SamplingParams(
            max_tokens=max_tokens,
            min_tokens=min_tokens if max_tokens is None else min(min_tokens, max_tokens),
            stop=self.stop_strings,
            min_p=self.min_p,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            repetition_penalty=self.repetition_penalty,
        )


def _refuse(stated: JsonObject, neutral: dict[str, tuple[object, ...]]) -> None:
    for key, values in neutral.items():
        if key in stated and stated.value(key) not in values:
            raise stated.error(
                key, "is not supported; take the key out of the file to run the model without it"
            )


def _number(stated: JsonObject, key: str, low: float, high: float, *, default: float) -> float:
    number = stated.number(key, default=default)
    if not low <= number <= high:
        raise stated.error(key, f"a number from {low:g} to {high:g} is needed")
    return number


def _stop_strings(stated: JsonObject) -> tuple[str, ...]:
    if "stop_strings" not in stated:
        return ()
    value = stated.value("stop_strings")
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise stated.error("stop_strings", "a text or a list of texts is needed")
    if len(texts) > MAX_STOP_STRINGS:
        raise stated.error("stop_strings", f"at most {MAX_STOP_STRINGS} texts are supported")
    return tuple(texts)
