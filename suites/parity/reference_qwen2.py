"""Qwen2 in plain numpy float64: slow, short, and the formulas of Hugging Face's model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.models.checkpoint import Checkpoint
from engine.models.qwen2 import Qwen2Config
from engine.models.registry import load_model_config

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReferenceQwen2:
    config: Qwen2Config
    weights: dict[str, Array]

    @classmethod
    def load(cls, directory: Path) -> ReferenceQwen2:
        config = load_model_config(directory)
        with Checkpoint.open(directory, config) as checkpoint:
            weights = {
                stored.name: _as_float64(
                    stored.buffer, stored.dtype, stored.shape, stored.offset_bytes
                )
                for stored in checkpoint
            }
        return cls(config, weights)

    def logits(self, token_ids: list[int]) -> Array:
        """Logits [T, vocab] of every position of a sequence."""
        config = self.config
        hidden = self.weights["model.embed_tokens.weight"][token_ids]  # [T, hidden]
        for layer in range(config.num_layers):
            prefix = f"model.layers.{layer}."
            hidden = hidden + self._attention(prefix, hidden)
            hidden = hidden + self._mlp(prefix, hidden)
        hidden = self._norm("model.norm.weight", hidden)
        head = "model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"
        return hidden @ self.weights[head].T

    def greedy(self, token_ids: list[int], count: int) -> list[int]:
        """The next `count` tokens, each the most likely one."""
        tokens = list(token_ids)
        for _ in range(count):
            tokens.append(int(np.argmax(self.logits(tokens)[-1])))
        return tokens[len(token_ids) :]

    def _norm(self, name: str, x: Array) -> Array:
        scale = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.config.rms_norm_eps)
        return x / scale * self.weights[name]

    def _linear(self, name: str, x: Array) -> Array:
        y = x @ self.weights[name + ".weight"].T
        bias = self.weights.get(name + ".bias")
        return y if bias is None else y + bias

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


def _as_float64(buffer: object, dtype: str, shape: tuple[int, ...], offset_bytes: int) -> Array:
    count = int(np.prod(shape))
    stored = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}[dtype]
    values = np.frombuffer(buffer, stored, count, offset_bytes)  # type: ignore[call-overload]
    if dtype == "bf16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float64).reshape(shape)
