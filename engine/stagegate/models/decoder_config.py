"""The model as the core sees it: exactly the fields of csrc/model/decoder_config.h."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """Llama 3.1's scaling of rotary frequencies for longer contexts; see csrc/ops/rope/rope.h."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Dimensions, numbers and variants of a decoder.

    max_position_embeddings: positions the model was trained for.
    qkv_bias: the projection to queries, keys and values adds a bias.
    qk_norm: an RMS norm over each head of queries and keys, before their rotation.
    tie_word_embeddings: the embedding is also the head.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    qkv_bias: bool
    qk_norm: bool
    tie_word_embeddings: bool
