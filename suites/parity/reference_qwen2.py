"""Qwen2 in plain numpy float64: slow, short, and the formulas of Hugging Face's model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.models.checkpoint import Checkpoint
from engine.models.qwen2 import Qwen2Config
from engine.models.registry import load_model_config
from engine.models.safetensors_file import StoredTensor

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReferenceQwen2:
    """weights: as they are stored; each is converted when it is used, for all take four times that
    memory and more.
    """

    config: Qwen2Config
    weights: dict[str, StoredTensor]

    @classmethod
    def load(cls, directory: Path) -> ReferenceQwen2:
        config = load_model_config(directory)
        with Checkpoint.open(directory, config) as checkpoint:
            return cls(config, {stored.name: stored for stored in checkpoint})

    def logits(self, token_ids: list[int]) -> Array:
        """Logits [T, vocab] of every position of a sequence."""
        config = self.config
        embeddings = self._stored("model.embed_tokens.weight")
        hidden = _as_float64(embeddings[token_ids])  # [T, hidden]
        for layer in range(config.num_layers):
            prefix = f"model.layers.{layer}."
            hidden = hidden + self._attention(prefix, hidden)
            hidden = hidden + self._mlp(prefix, hidden)
        hidden = self._norm("model.norm.weight", hidden)
        head = "model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"
        return hidden @ self._weight(head).T

    def _stored(self, name: str) -> npt.NDArray[np.generic]:
        """A view of the file; bf16 as its bits."""
        tensor = self.weights[name]
        dtype = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}[tensor.dtype]
        values = np.frombuffer(
            tensor.buffer, dtype, int(np.prod(tensor.shape)), tensor.offset_bytes
        )
        return values.reshape(tensor.shape)

    def _weight(self, name: str) -> Array:
        return _as_float64(self._stored(name))

    def _norm(self, name: str, x: Array) -> Array:
        scale = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.config.rms_norm_eps)
        return x / scale * self._weight(name)

    def _linear(self, name: str, x: Array) -> Array:
        y = x @ self._weight(name + ".weight").T
        return y + self._weight(name + ".bias") if name + ".bias" in self.weights else y

    def _attention(self, prefix: str, hidden: Array) -> Array:
        config = self.config
        x = self._norm(prefix + "input_layernorm.weight", hidden)
        length = len(x)
        q = self._linear(prefix + "self_attn.q_proj", x).reshape(length, -1, config.head_dim)
        k = self._linear(prefix + "self_attn.k_proj", x).reshape(length, -1, config.head_dim)
        v = self._linear(prefix + "self_attn.v_proj", x).reshape(length, -1, config.head_dim)
        q, k = self._rotate(q), self._rotate(k)
        group = config.num_heads // config.num_kv_heads
        k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(config.head_dim)
        scores[:, np.triu(np.ones((length, length), dtype=bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", weights, v).reshape(length, -1)
        return self._linear(prefix + "self_attn.o_proj", mixed)

    def _rotate(self, x: Array) -> Array:
        half = self.config.head_dim // 2
        frequencies = self.config.rope_theta ** (-np.arange(half) / half)
        angles = np.arange(len(x))[:, None, None] * frequencies  # [T, 1, half]
        first, second = x[..., :half], x[..., half:]
        return np.concatenate(
            [
                first * np.cos(angles) - second * np.sin(angles),
                second * np.cos(angles) + first * np.sin(angles),
            ],
            axis=-1,
        )

    def _mlp(self, prefix: str, hidden: Array) -> Array:
        x = self._norm(prefix + "post_attention_layernorm.weight", hidden)
        gate = self._linear(prefix + "mlp.gate_proj", x)
        up = self._linear(prefix + "mlp.up_proj", x)
        return self._linear(prefix + "mlp.down_proj", gate / (1 + np.exp(-gate)) * up)


def _as_float64(values: npt.NDArray[np.generic]) -> Array:
    """Stored values; those of 16 whole bits are bf16."""
    if values.dtype == np.uint16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float64)
