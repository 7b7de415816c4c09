"""How many tokens the KV storage gets room for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagegate.errors import ConfigError

if TYPE_CHECKING:
    from stagegate.config import EngineConfig
    from stagegate.models.decoder_config import DecoderConfig

# Share of the free memory the KV storage may take when nobody says how large it should be. A device
# is the engine's own but for what kernels need at times; a host has other programs to run.
_SHARES = {"cpu": 0.5, "cuda": 0.9}

# Not for the KV storage, whoever asks: what steps take as they first come, such as scratch memory,
# graphs and kernels that are loaded when they are needed.
_STEP_BYTES = {"cpu": 0, "cuda": 512 << 20}

_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

_DTYPE_BYTES = {"f32": 4, "f16": 2, "bf16": 2}


def kv_bytes_per_token(decoder: DecoderConfig, dtype: str) -> int:
    """Bytes of keys and values one token takes in all layers."""
    return 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim * _DTYPE_BYTES[dtype]


def kv_memory_from_text(text: str | None) -> float | int | None:
    """A share of the free memory ("0.8") or a size ("6GiB", "800MiB"), as EngineConfig takes it.

    Raises ConfigError for anything else.
    """
    if text is None:
        return None
    unit = text[-3:]
    try:
        if unit in _UNITS:
            return int(float(text[:-3]) * _UNITS[unit])
        return float(text)
    except (ValueError, OverflowError):  # the latter from infGiB
        msg = f"KV memory must be a share such as 0.8 or a size such as 6GiB, got {text!r}"
        raise ConfigError(msg) from None


def kv_capacity_tokens(
    config: EngineConfig, decoder: DecoderConfig, dtype: str, max_model_len: int, free_bytes: int
) -> int:
    """Tokens the KV storage holds, in whole blocks.

    That is what the configuration asks for, else enough for every sequence at full length as far
    as the memory allows that the configuration leaves to it.

    free_bytes: of the device, with weights and workspace in place. Raises ConfigError when not even
    one block fits.
    """
    for_steps = _STEP_BYTES[config.device]
    usable = max(0, free_bytes - for_steps)
    granule = config.block_size if config.kv_layout == "block" else 1
    per_token = kv_bytes_per_token(decoder, dtype)
    wanted = config.kv_capacity_tokens
    if wanted is None:
        memory = _SHARES[config.device] if config.kv_memory is None else config.kv_memory
        budget = int(usable * memory) if isinstance(memory, float) else memory
        if budget > usable:
            msg = (
                f"kv_memory={memory} is more than the {usable} bytes that are free for it; "
                "use at most that, or a share such as 0.9"
            )
            raise ConfigError(msg)
        longest = -(-max_model_len // granule) * granule
        wanted = min(config.max_num_seqs * longest, budget // per_token)
        if wanted < granule:
            msg = (
                f"no room for KV storage: {free_bytes} bytes of {config.device} memory are free, "
                f"{for_steps} are for steps, {budget} may be taken, and {granule} tokens take "
                f"{granule * per_token}; free memory, raise kv_memory or use a smaller model"
            )
            raise ConfigError(msg)
    if wanted < granule:
        msg = (
            f"kv_capacity_tokens={wanted} is less than one block of {granule} tokens; "
            f"use at least {granule}"
        )
        raise ConfigError(msg)
    return wanted // granule * granule


def memory_table(memory_bytes: dict[str, int], capacity: int, max_model_len: int) -> str:
    """What the memory went to, a line each, and how many of the longest sequences fit at once."""
    lines = [f"{name:10} {size / 2**20:10.1f} MiB" for name, size in memory_bytes.items()]
    lines.append(
        f"{'room for':10} {capacity:10} tokens, "
        f"{capacity / max_model_len:.1f} sequences of {max_model_len}"
    )
    return "\n".join(lines)
