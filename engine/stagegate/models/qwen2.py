"""The Qwen2 architecture: Qwen2, Qwen2.5 and the DeepSeek-R1 distillations of Qwen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stagegate.models import config_keys
from stagegate.models.architecture import Architecture, WeightNames
from stagegate.models.decoder_config import DecoderConfig

if TYPE_CHECKING:
    from stagegate.models.json_object import JsonObject

# Keys of config.json that would change the computation, with their supported values. The first is
# the default of an absent key; "swish" is another name for SiLU.
_SUPPORTED_VALUES: Final[dict[str, tuple[object, ...]]] = {
    "model_type": ("qwen2",),
    "hidden_act": ("silu", "swish"),
    "attention_bias": (True,),
    "mlp_bias": (False,),
    "partial_rotary_factor": (1.0, 1),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
}
# Keys whose presence makes Hugging Face build another variant of the model, whatever the value.
_UNSUPPORTED: Final = {
    "quantization_config": (
        "quantized checkpoints are not supported; use the f32, f16 or bf16 original"
    ),
    "per_layer_config": "layers that differ from each other are not supported",
}

# Hugging Face's defaults for absent keys. Sizes of the weights have defaults too, but no published
# model uses them, so an absent size is an error.
_DEFAULT_VOCAB_SIZE: Final = 151936
_DEFAULT_NUM_KV_HEADS: Final = 32
_DEFAULT_MAX_POSITION_EMBEDDINGS: Final = 32768
_DEFAULT_RMS_NORM_EPS: Final = 1e-6
_DEFAULT_ROPE_THETA: Final = 10000.0
_DEFAULT_SLIDING_WINDOW: Final = 4096
_DEFAULT_MAX_WINDOW_LAYERS: Final = 28

# Those that `parse_config` reads.
_READ: Final = frozenset((
    "head_dim", "hidden_size", "intermediate_size", "layer_types", "max_position_embeddings",
    "max_window_layers", "num_attention_heads", "num_hidden_layers", "num_key_value_heads",
    "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta", "sliding_window",
    "tie_word_embeddings", "use_sliding_window", "vocab_size",
))  # fmt: skip
# The positions of text are the same with use_mrope.
_IRRELEVANT: Final = config_keys.IRRELEVANT_KEYS | {"use_mrope"}


def parse_config(stated: JsonObject) -> DecoderConfig:
    """The decoder that config.json describes.

    A key that is absent or null has Hugging Face's default. Raises ModelError for a missing size, a
    value out of range, and every variant of the architecture that this engine does not support; the
    message names key and value.
    """
    num_layers = config_keys.num_layers(stated)
    max_position_embeddings = stated.integer(
        "max_position_embeddings", at_least=1, default=_DEFAULT_MAX_POSITION_EMBEDDINGS
    )
    config_keys.refuse_variants(stated, _SUPPORTED_VALUES, _UNSUPPORTED)
    _refuse_sliding_windows(stated, num_layers, max_position_embeddings)
    num_heads = stated.integer("num_attention_heads", at_least=1)
    hidden_size = stated.integer("hidden_size", at_least=1)
    return DecoderConfig(
        vocab_size=stated.integer("vocab_size", at_least=1, default=_DEFAULT_VOCAB_SIZE),
        hidden_size=hidden_size,
        intermediate_size=stated.integer("intermediate_size", at_least=1),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=config_keys.num_kv_heads(stated, num_heads, default=_DEFAULT_NUM_KV_HEADS),
        head_dim=config_keys.head_dim(stated, hidden_size, num_heads),
        max_position_embeddings=max_position_embeddings,
        rms_norm_eps=config_keys.positive(stated, "rms_norm_eps", default=_DEFAULT_RMS_NORM_EPS),
        rope_theta=config_keys.rope_theta(stated, default=_DEFAULT_ROPE_THETA),
        rope_scaling=None,
        qkv_bias=True,
        qk_norm=False,
        tie_word_embeddings=stated.flag("tie_word_embeddings", default=False),
    )


def weight_names(config: DecoderConfig) -> WeightNames:
    """Names by role; with tied embeddings a checkpoint need not have the head."""
    names: dict[str, tuple[str, ...]] = {
        "embedding": ("model.embed_tokens.weight",),
        "final_norm": ("model.norm.weight",),
        "head": ("lm_head.weight",),
    }
    for index in range(config.num_layers):
        prefix = f"model.layers.{index}."
        projections = [f"{prefix}self_attn.{name}_proj" for name in ("q", "k", "v")]
        layer = {
            "attention_norm": (f"{prefix}input_layernorm.weight",),
            "qkv": tuple(f"{projection}.weight" for projection in projections),
            "qkv.bias": tuple(f"{projection}.bias" for projection in projections),
            "o": (f"{prefix}self_attn.o_proj.weight",),
            "mlp_norm": (f"{prefix}post_attention_layernorm.weight",),
            "gate_up": (f"{prefix}mlp.gate_proj.weight", f"{prefix}mlp.up_proj.weight"),
            "down": (f"{prefix}mlp.down_proj.weight",),
        }
        names |= {f"layers.{index}.{role}": stored for role, stored in layer.items()}
    return names


ARCHITECTURE: Final = Architecture(
    name="Qwen2ForCausalLM",
    model_type="qwen2",
    known_keys=_READ | _IRRELEVANT | _SUPPORTED_VALUES.keys() | _UNSUPPORTED.keys(),
    parse_config=parse_config,
    weight_names=weight_names,
)


def _refuse_sliding_windows(
    stated: JsonObject, num_layers: int, max_position_embeddings: int
) -> None:
    """Check that every layer attends to all earlier tokens; Hugging Face reads these four keys."""
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
    # A window as long as the longest text excludes nothing.
    if first < num_layers and window < max_position_embeddings:
        raise stated.error(
            "use_sliding_window",
            f"sliding windows are not supported: the layers from {first} on would see only "
            f"{window} tokens",
        )
