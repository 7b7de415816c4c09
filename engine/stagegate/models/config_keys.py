"""Keys of config.json that architectures share, read as Hugging Face reads them.

Each function raises ModelError naming key and value for a value that it does not accept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stagegate.models.json_object import JsonObject

# Keys that any model's config.json may have and that change nothing here; docs/checkpoints.md has
# the reasons.
IRRELEVANT_KEYS: Final = frozenset((
    "_attn_implementation", "_name_or_path", "attention_dropout", "attn_implementation",
    "auto_map", "cache_implementation", "chunk_size_feed_forward", "finetuning_task", "id2label",
    "initializer_range", "label2id", "name_or_path", "num_labels", "output_attentions",
    "output_hidden_states", "pad_token_id", "problem_type", "return_dict", "task_specific_params",
    "tie_encoder_decoder", "tokenizer_class", "torchscript", "transformers_version",
    "unsloth_fixed", "unsloth_version", "use_bfloat16", "use_cache", "use_return_dict",
))  # fmt: skip

# Far above any model. It bounds the list of tensor names, which is made before one is read.
_MAX_LAYERS: Final = 10_000

_ROPE_KEYS: Final = {"rope_type", "type", "rope_theta"}


def refuse_variants(
    stated: JsonObject, supported: Mapping[str, tuple[object, ...]], unsupported: Mapping[str, str]
) -> None:
    """Refuse settings that would change the computation.

    supported: keys to their permitted values; the first is the default of an absent key.
    unsupported: keys that must be absent, and why.
    """
    for key, values in supported.items():
        if key in stated:
            value = stated.value(key)
            if not any(type(value) is type(one) and value == one for one in values):
                raise stated.error(key, f"only {values[0]!r} is supported")
    for key, problem in unsupported.items():
        if key in stated:
            raise stated.error(key, problem)


def num_layers(stated: JsonObject) -> int:
    return stated.integer("num_hidden_layers", at_least=1, at_most=_MAX_LAYERS)


def num_kv_heads(stated: JsonObject, num_heads: int, *, default: int) -> int:
    """default: for an absent key; null means the number of query heads."""
    key = "num_key_value_heads"
    if stated.is_null(key):
        return num_heads
    kv_heads = stated.integer(key, at_least=1, default=default)
    if num_heads % kv_heads:
        absent = "" if key in stated else f"absent means {kv_heads}, but "
        raise stated.error(
            key, f"{absent}num_attention_heads = {num_heads} is not a multiple of it"
        )
    return kv_heads


def head_dim(stated: JsonObject, hidden_size: int, num_heads: int) -> int:
    if "head_dim" in stated:
        dim = stated.integer("head_dim", at_least=1)
        key = "head_dim"
    else:
        key = "hidden_size"
        dim, remainder = divmod(hidden_size, num_heads)
        if remainder:
            raise stated.error(
                key,
                f"not a multiple of num_attention_heads = {num_heads}, and no head_dim is stated",
            )
    if dim < 2 or dim % 2:
        raise stated.error(
            key, f"the head dimension {dim} is not even, which rotary embedding needs"
        )
    return dim


def rope_theta(stated: JsonObject, *, default: float) -> float:
    """The base of the rotary frequencies, from either spelling; scaling is refused.

    Transformers up to 4 writes rope_theta and rope_scaling; from 5 on both are in rope_parameters.
    """
    thetas = {"rope_theta": positive(stated, "rope_theta")} if "rope_theta" in stated else {}
    if "rope_parameters" in stated and "rope_scaling" in stated:
        raise stated.error("rope_scaling", "rope_parameters says the same; leave one of them out")
    for key in ("rope_parameters", "rope_scaling"):
        if key not in stated:
            continue
        rope = stated.nested(key)
        for spelling in ("rope_type", "type"):
            if spelling in rope and rope.value(spelling) != "default":
                raise stated.error(key, "only the rope type 'default' (no scaling) is supported")
        unknown = sorted(set(rope) - _ROPE_KEYS)
        if unknown:
            raise stated.error(key, f"{', '.join(unknown)} is not supported")
        if "rope_theta" in rope:
            thetas[key] = positive(rope, "rope_theta")
    if len(set(thetas.values())) > 1:
        raise stated.error(next(iter(thetas)), f"contradicting values of rope_theta: {thetas}")
    return next(iter(thetas.values()), default)


def positive(stated: JsonObject, key: str, *, default: float | None = None) -> float:
    number = stated.number(key, default=default)
    if number <= 0:
        raise stated.error(key, "a number above 0 is needed")
    return number
