"""The Qwen2 architecture: its dimensions and the tensors a checkpoint of it holds.

Qwen2, Qwen2.5 and the DeepSeek-R1 distillations of Qwen share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.models.json_object import JsonObject

# Keys of config.json that would change the computation, with the values that are supported. The
# first is what an absent key means; "swish" is another name of SiLU.
_SUPPORTED_VALUES: Final[dict[str, tuple[object, ...]]] = {
    "model_type": ("qwen2",),
    "hidden_act": ("silu", "swish"),
    "attention_bias": (True,),
    "mlp_bias": (False,),
    "partial_rotary_factor": (1.0, 1),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
}
# Variants of the model that Hugging Face builds from a key, whatever its value.
_UNSUPPORTED: Final = {
    "quantization_config": (
        "quantized checkpoints are not supported; use the f32, f16 or bf16 original"
    ),
    "per_layer_config": "layers that differ from each other are not supported",
}

# What Hugging Face takes for keys that config.json does not state. Sizes of the weights have such
# values too, but no published model has them, so that an absent one is an error.
_DEFAULT_VOCAB_SIZE: Final = 151936
_DEFAULT_NUM_KV_HEADS: Final = 32
_DEFAULT_MAX_POSITION_EMBEDDINGS: Final = 32768
_DEFAULT_RMS_NORM_EPS: Final = 1e-6
_DEFAULT_ROPE_THETA: Final = 10000.0
_DEFAULT_SLIDING_WINDOW: Final = 4096
_DEFAULT_MAX_WINDOW_LAYERS: Final = 28

# Keys that change nothing here; docs/checkpoints.md has the reasons.
_IRRELEVANT: Final = frozenset((
    "_attn_implementation", "_name_or_path", "attention_dropout", "attn_implementation",
    "auto_map", "cache_implementation", "chunk_size_feed_forward", "finetuning_task", "id2label",
    "initializer_range", "label2id", "name_or_path", "num_labels", "output_attentions",
    "output_hidden_states", "pad_token_id", "problem_type", "return_dict", "task_specific_params",
    "tie_encoder_decoder", "tokenizer_class", "torchscript", "transformers_version",
    "unsloth_fixed", "unsloth_version", "use_bfloat16", "use_cache", "use_mrope",
    "use_return_dict",
))  # fmt: skip
# Those that `from_json` and its callers read.
_READ: Final = frozenset((
    "architectures", "bos_token_id", "dtype", "eos_token_id", "head_dim", "hidden_size",
    "intermediate_size", "layer_types", "max_position_embeddings", "max_window_layers",
    "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "rms_norm_eps",
    "rope_parameters", "rope_scaling", "rope_theta", "sliding_window", "tie_word_embeddings",
    "torch_dtype", "use_sliding_window", "vocab_size",
))  # fmt: skip
KNOWN_KEYS: Final = _READ | _IRRELEVANT | _SUPPORTED_VALUES.keys() | _UNSUPPORTED.keys()

# Far above any model; the names of all tensors are listed before one is read.
_MAX_LAYERS: Final = 10_000

_ROPE_KEYS: Final = {"rope_type", "type", "rope_theta"}


@dataclass(frozen=True, slots=True)
class Qwen2Config:
    """Dimensions and constants of one model.

    dtype: "f32", "f16" or "bf16": what the model is computed in. Stored tensors may differ.
    eos_token_ids: as config.json states them; other files of the checkpoint may name more.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    max_position_embeddings: int
    tie_word_embeddings: bool
    dtype: str
    eos_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None

    @classmethod
    def from_json(cls, stated: JsonObject, dtype: str) -> Qwen2Config:
        """The model that config.json describes, computed in `dtype`.

        A key that is absent or null has the value Hugging Face takes. Raises ModelError for a size
        that is missing, for a value out of range, and for every variant of the architecture that
        this engine does not compute; the message names key and value. Keys that Hugging Face does
        not know either are named in the log.
        """
        num_layers = stated.integer("num_hidden_layers", at_least=1, at_most=_MAX_LAYERS)
        max_position_embeddings = stated.integer(
            "max_position_embeddings", at_least=1, default=_DEFAULT_MAX_POSITION_EMBEDDINGS
        )
        _refuse_variants(stated)
        _refuse_sliding_windows(stated, num_layers, max_position_embeddings)
        num_heads = stated.integer("num_attention_heads", at_least=1)
        vocab_size = stated.integer("vocab_size", at_least=1, default=_DEFAULT_VOCAB_SIZE)
        hidden_size = stated.integer("hidden_size", at_least=1)
        bos_token_ids = _token_ids(stated, "bos_token_id", vocab_size)
        if len(bos_token_ids) > 1:
            raise stated.error("bos_token_id", "at most one token id is supported")
        stated.log_unread(KNOWN_KEYS)
        return cls(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            intermediate_size=stated.integer("intermediate_size", at_least=1),
            num_layers=num_layers,
            num_heads=num_heads,
            num_kv_heads=_num_kv_heads(stated, num_heads),
            head_dim=_head_dim(stated, hidden_size, num_heads),
            rms_norm_eps=_positive(stated, "rms_norm_eps", default=_DEFAULT_RMS_NORM_EPS),
            rope_theta=_rope_theta(stated),
            max_position_embeddings=max_position_embeddings,
            tie_word_embeddings=stated.flag("tie_word_embeddings", default=False),
            dtype=dtype,
            eos_token_ids=_token_ids(stated, "eos_token_id", vocab_size),
            bos_token_id=bos_token_ids[0] if bos_token_ids else None,
        )

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor a checkpoint must hold, by its Hugging Face name, in model order.

        Linear weights are [out, in]. Under tied embeddings there is no lm_head.weight; see
        `tied_copies` for checkpoints that carry one nevertheless.
        """
        hidden, inner = self.hidden_size, self.intermediate_size
        q_rows, kv_rows = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        layer: dict[str, tuple[int, ...]] = {
            "input_layernorm.weight": (hidden,),
            "self_attn.q_proj.weight": (q_rows, hidden),
            "self_attn.k_proj.weight": (kv_rows, hidden),
            "self_attn.v_proj.weight": (kv_rows, hidden),
            "self_attn.q_proj.bias": (q_rows,),
            "self_attn.k_proj.bias": (kv_rows,),
            "self_attn.v_proj.bias": (kv_rows,),
            "self_attn.o_proj.weight": (hidden, q_rows),
            "post_attention_layernorm.weight": (hidden,),
            "mlp.gate_proj.weight": (inner, hidden),
            "mlp.up_proj.weight": (inner, hidden),
            "mlp.down_proj.weight": (hidden, inner),
        }
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, hidden)
        }
        for index in range(self.num_layers):
            shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
        shapes["model.norm.weight"] = (hidden,)
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, hidden)
        return shapes

    def tied_copies(self) -> dict[str, str]:
        """Tensors a checkpoint may repeat, and what they repeat.

        Some training tools save lm_head.weight although it is tied to the embedding. The engine
        does not load it.
        """
        if self.tie_word_embeddings:
            return {"lm_head.weight": "model.embed_tokens.weight"}
        return {}


def _refuse_variants(stated: JsonObject) -> None:
    for key, supported in _SUPPORTED_VALUES.items():
        if key in stated:
            value = stated.value(key)
            if not any(type(value) is type(one) and value == one for one in supported):
                raise stated.error(key, f"only {supported[0]!r} is supported")
    for key, problem in _UNSUPPORTED.items():
        if key in stated:
            raise stated.error(key, problem)


def _refuse_sliding_windows(
    stated: JsonObject, num_layers: int, max_position_embeddings: int
) -> None:
    """Every layer must attend to all tokens before, as Hugging Face reads the four keys."""
    if "layer_types" in stated:
        if stated.value("layer_types") != ["full_attention"] * num_layers:
            raise stated.error(
                "layer_types", f"only 'full_attention' in all {num_layers} layers is supported"
            )
        return
    if not stated.flag("use_sliding_window", default=False) or stated.is_null("sliding_window"):
        return
    window = stated.integer("sliding_window", at_least=1, default=_DEFAULT_SLIDING_WINDOW)
    first = stated.integer("max_window_layers", at_least=0, default=_DEFAULT_MAX_WINDOW_LAYERS)
    # A window as long as the longest text hides nothing.
    if first < num_layers and window < max_position_embeddings:
        raise stated.error(
            "use_sliding_window",
            f"sliding windows are not supported: the layers from {first} on would see only "
            f"{window} tokens",
        )


def _num_kv_heads(stated: JsonObject, num_heads: int) -> int:
    key = "num_key_value_heads"
    if stated.is_null(key):
        return num_heads
    num_kv_heads = stated.integer(key, at_least=1, default=_DEFAULT_NUM_KV_HEADS)
    if num_heads % num_kv_heads:
        absent = "" if key in stated else f"absent means {num_kv_heads}, but "
        raise stated.error(
            key, f"{absent}num_attention_heads = {num_heads} is not a multiple of it"
        )
    return num_kv_heads


def _head_dim(stated: JsonObject, hidden_size: int, num_heads: int) -> int:
    if "head_dim" in stated:
        head_dim = stated.integer("head_dim", at_least=1)
        key = "head_dim"
    else:
        key = "hidden_size"
        head_dim, remainder = divmod(hidden_size, num_heads)
        if remainder:
            raise stated.error(
                key,
                f"not a multiple of num_attention_heads = {num_heads}, and no head_dim is stated",
            )
    if head_dim < 2 or head_dim % 2:
        raise stated.error(
            key, f"the head dimension {head_dim} is not even, which rotary embedding needs"
        )
    return head_dim


def _rope_theta(stated: JsonObject) -> float:
    """The base of the rotary frequencies, from either spelling.

    Transformers up to 4 writes rope_theta and rope_scaling, from 5 on both go into rope_parameters.
    """
    thetas = {"rope_theta": _positive(stated, "rope_theta")} if "rope_theta" in stated else {}
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
            thetas[key] = _positive(rope, "rope_theta")
    if len(set(thetas.values())) > 1:
        raise stated.error(next(iter(thetas)), f"contradicting values of rope_theta: {thetas}")
    return next(iter(thetas.values()), _DEFAULT_ROPE_THETA)


def _positive(stated: JsonObject, key: str, *, default: float | None = None) -> float:
    number = stated.number(key, default=default)
    if number <= 0:
        raise stated.error(key, "a number above 0 is needed")
    return number


def _token_ids(stated: JsonObject, key: str, vocab_size: int) -> tuple[int, ...]:
    ids = stated.token_ids(key)
    if any(token >= vocab_size for token in ids):
        raise stated.error(key, f"not a token of a vocabulary of {vocab_size}")
    return ids
