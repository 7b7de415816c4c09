"""How many tokens the KV storage gets room for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.config import EngineConfig
    from engine.models.qwen2 import Qwen2Config

# Share of the free host memory the KV storage may take when nobody says how large it should be.
_HOST_MEMORY_SHARE = 0.5

_DTYPE_BYTES = {"f32": 4, "f16": 2, "bf16": 2}


def kv_bytes_per_token(model: Qwen2Config, dtype: str) -> int:
    """Bytes of keys and values one token takes in all layers."""
    return 2 * model.num_layers * model.num_kv_heads * model.head_dim * _DTYPE_BYTES[dtype]


def kv_capacity_tokens(
    config: EngineConfig, model: Qwen2Config, dtype: str, max_model_len: int
) -> int:
    """Tokens the KV storage holds, in whole blocks.

    That is what the configuration asks for, else enough for every sequence at full length as far
    as free memory allows.

    Raises ConfigError when not even one block fits.
    """
    granule = config.block_size if config.layout == "block" else 1
    wanted = config.kv_capacity_tokens
    if wanted is None:
        free = available_host_bytes()
        affordable = int(free * _HOST_MEMORY_SHARE) // kv_bytes_per_token(model, dtype)
        longest = -(-max_model_len // granule) * granule
        wanted = min(config.max_num_seqs * longest, affordable)
        if wanted < granule:
            msg = (
                f"no room for KV storage: {free} bytes of host memory are free and one token takes "
                f"{kv_bytes_per_token(model, dtype)} bytes; free memory or use a smaller model"
            )
            raise ConfigError(msg)
    if wanted < granule:
        msg = (
            f"kv_capacity_tokens={wanted} is less than one block of {granule} tokens; "
            f"use at least {granule}"
        )
        raise ConfigError(msg)
    return wanted // granule * granule


def available_host_bytes() -> int:
    """Memory the kernel can give without swapping (MemAvailable of /proc/meminfo)."""
    with open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    msg = "/proc/meminfo has no MemAvailable; set kv_capacity_tokens"
    raise ConfigError(msg)
