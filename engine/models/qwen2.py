"""The Qwen2 architecture: its dimensions and the tensors a checkpoint of it holds.

Qwen2, Qwen2.5 and the DeepSeek-R1 distillations of Qwen share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.models.json_object import JsonObject

_DTYPES: Final = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}

# Keys of config.json that change the computation, with the one value this engine computes. That is
# also what Hugging Face takes when the key is absent.
_ONLY_SUPPORTED: Final = {
    "model_type": "qwen2",
    "hidden_act": "silu",
    "attention_bias": True,
    "use_sliding_window": False,
}

# Far above any model; the names of all tensors are listed before one is read.
_MAX_LAYERS: Final = 10_000

_ROPE_KEYS: Final = {"rope_type", "type", "rope_theta"}


@dataclass(frozen=True, slots=True)
class Qwen2Config:
    """Dimensions and constants of one model.

    dtype: "f32", "f16" or "bf16": what the checkpoint was trained for. Stored tensors may differ.
    eos_token_ids: as config.json states them; generation_config.json may name more.
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
    def from_json(cls, stated: JsonObject) -> Qwen2Config:
        """The model that config.json describes.

        Raises ModelError for a key that is missing or out of range, and for every variant of the
        architecture that this engine does not compute; the message names key and value.
        """
        num_layers = stated.integer("num_hidden_layers", at_least=1, at_most=_MAX_LAYERS)
        _refuse_variants(stated, num_layers)
        num_heads = stated.integer("num_attention_heads", at_least=1)
        num_kv_heads = stated.integer("num_key_value_heads", at_least=1)
        if num_heads % num_kv_heads:
            raise stated.error(
                "num_key_value_heads", f"num_attention_heads = {num_heads} is not a multiple of it"
            )
        vocab_size = stated.integer("vocab_size", at_least=1)
        hidden_size = stated.integer("hidden_size", at_least=1)
        bos_token_ids = _token_ids(stated, "bos_token_id", vocab_size)
        if len(bos_token_ids) > 1:
            raise stated.error("bos_token_id", "at most one token id is supported")
        return cls(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            intermediate_size=stated.integer("intermediate_size", at_least=1),
            num_layers=num_layers,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            head_dim=_head_dim(stated, hidden_size, num_heads),
            rms_norm_eps=_positive(stated, "rms_norm_eps"),
            rope_theta=_rope_theta(stated),
            max_position_embeddings=stated.integer("max_position_embeddings", at_least=1),
            tie_word_embeddings=stated.flag("tie_word_embeddings", default=False),
            dtype=_dtype(stated),
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


def _refuse_variants(stated: JsonObject, num_layers: int) -> None:
    for key, supported in _ONLY_SUPPORTED.items():
        if key in stated:
            value = stated.value(key)
            if type(value) is not type(supported) or value != supported:
                raise stated.error(key, f"only {supported!r} is supported")
    if "quantization_config" in stated:
        raise stated.error(
            "quantization_config",
            "quantized checkpoints are not supported; use the f32, f16 or bf16 original",
        )
    if "layer_types" in stated and stated.value("layer_types") != ["full_attention"] * num_layers:
        raise stated.error(
            "layer_types", f"only 'full_attention' in all {num_layers} layers is supported"
        )


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
    if not thetas:
        # Raises: the key is missing.
        return stated.number("rope_theta")
    if len(set(thetas.values())) > 1:
        raise stated.error(next(iter(thetas)), f"contradicting values of rope_theta: {thetas}")
    return next(iter(thetas.values()))


def _dtype(stated: JsonObject) -> str:
    keys = [key for key in ("dtype", "torch_dtype") if key in stated] or ["torch_dtype"]
    names = [stated.string(key) for key in keys]
    if names[0] not in _DTYPES:
        raise stated.error(keys[0], f"must be one of {', '.join(_DTYPES)}")
    if names[0] != names[-1]:
        raise stated.error(keys[0], f"contradicts {keys[-1]} = {names[-1]!r}")
    return _DTYPES[names[0]]


def _positive(stated: JsonObject, key: str) -> float:
    number = stated.number(key)
    if number <= 0:
        raise stated.error(key, "a number above 0 is needed")
    return number


def _token_ids(stated: JsonObject, key: str, vocab_size: int) -> tuple[int, ...]:
    ids = stated.token_ids(key)
    if any(token >= vocab_size for token in ids):
        raise stated.error(key, f"not a token of a vocabulary of {vocab_size}")
    return ids
