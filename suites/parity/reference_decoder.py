"""A decoder in plain numpy float64: slow, short, and the formulas of Hugging Face's models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stagegate.models.checkpoint import Checkpoint
from stagegate.models.decoder_config import DecoderConfig
from stagegate.models.registry import load_model_config
from stagegate.models.safetensors_file import StoredTensor
from stagegate.models.tensor_map import TensorMap
from suites.ops.references import rope_angles

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReferenceDecoder:
    """weights: by role and part, as they are stored; each is converted when it is used, for all
    take four times that memory and more.
    """

    config: DecoderConfig
    weights: dict[tuple[str, int], StoredTensor]

    @classmethod
    def load(cls, directory: Path) -> ReferenceDecoder:
        model = load_model_config(directory)
        tensors = TensorMap.of(model)
        with Checkpoint.open(directory, tensors) as checkpoint:
            places = {name: (part.role, part.index) for name, part in tensors.parts.items()}
            return cls(model.decoder, {places[stored.name]: stored for stored in checkpoint})

    def logits(self, token_ids: list[int]) -> Array:
        """Logits [T, vocab] of every position of a sequence."""
        hidden = _as_float64(self._stored("embedding")[token_ids])  # [T, hidden]
        for index in range(self.config.num_layers):
            hidden = hidden + self._attention(f"layers.{index}.", hidden)
            hidden = hidden + self._mlp(f"layers.{index}.", hidden)
        head = "embedding" if self.config.tie_word_embeddings else "head"
        return self._norm("final_norm", hidden) @ self._weight(head).T

    def _stored(self, role: str, part: int = 0) -> npt.NDArray[np.generic]:
        """A view of the file; bf16 as its bits."""
        tensor = self.weights[role, part]
        dtype = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}[tensor.dtype]
        values = np.frombuffer(
            tensor.buffer, dtype, int(np.prod(tensor.shape)), tensor.offset_bytes
        )
        return values.reshape(tensor.shape)

    def _weight(self, role: str, part: int = 0) -> Array:
        return _as_float64(self._stored(role, part))

    def _norm(self, role: str, x: Array) -> Array:
        scale = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.config.rms_norm_eps)
        normed: Array = x / scale * self._weight(role)
        return normed

    def _linear(self, role: str, x: Array, part: int = 0) -> Array:
        y = x @ self._weight(role, part).T
        biased = (f"{role}.bias", part) in self.weights
        return y + self._weight(f"{role}.bias", part) if biased else y

    def _attention(self, prefix: str, hidden: Array) -> Array:
        config = self.config
        x = self._norm(f"{prefix}attention_norm", hidden)
        length = len(x)
        q, k, v = (
            self._linear(f"{prefix}qkv", x, part).reshape(length, -1, config.head_dim)
            for part in range(3)
        )
        if config.qk_norm:
            q, k = self._norm(f"{prefix}q_norm", q), self._norm(f"{prefix}k_norm", k)
        q, k = self._rotate(q), self._rotate(k)
        group = config.num_heads // config.num_kv_heads
        k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(config.head_dim)
        scores[:, np.triu(np.ones((length, length), dtype=bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", weights, v).reshape(length, -1)
        return self._linear(f"{prefix}o", mixed)

    def _rotate(self, x: Array) -> Array:
        config = self.config
        half = config.head_dim // 2
        angles = rope_angles(
            np.arange(len(x)), config.head_dim, config.rope_theta, config.rope_scaling
        )[:, None]  # [T, 1, half]
        first, second = x[..., :half], x[..., half:]
        return np.concatenate(
            [
                first * np.cos(angles) - second * np.sin(angles),
                second * np.cos(angles) + first * np.sin(angles),
            ],
            axis=-1,
        )

    def _mlp(self, prefix: str, hidden: Array) -> Array:
        x = self._norm(f"{prefix}mlp_norm", hidden)
        gate = self._linear(f"{prefix}gate_up", x, 0)
        up = self._linear(f"{prefix}gate_up", x, 1)
        return self._linear(f"{prefix}down", gate / (1 + np.exp(-gate)) * up)


def _as_float64(values: npt.NDArray[np.generic]) -> Array:
    """Stored values; those of 16 whole bits are bf16."""
    if values.dtype == np.uint16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float64)
