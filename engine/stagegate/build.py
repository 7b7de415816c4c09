"""Wires an engine together: the files of a checkpoint, an executor, memory, the scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagegate.core.input_processor import InputProcessor
from stagegate.core.llm_engine import LLMEngine
from stagegate.core.scheduler import Scheduler
from stagegate.errors import ConfigError
from stagegate.execution.worker import Worker
from stagegate.kv.block_manager import BlockManager
from stagegate.kv.prefix_cache import PrefixCache
from stagegate.kv.sizing import kv_capacity_tokens
from stagegate.kv.slot_manager import SlotManager
from stagegate.models.generation_config import GenerationConfig
from stagegate.models.registry import load_model_config
from stagegate.text.end_tokens import end_tokens
from stagegate.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from stagegate.config import EngineConfig
    from stagegate.execution.executor import Executor
    from stagegate.kv.manager import KVManager
    from stagegate.models.decoder_config import DecoderConfig


def build_engine(config: EngineConfig, *, executor: Executor | None = None) -> LLMEngine:
    """An engine of a checkpoint.

    executor: what executes the steps; None loads the checkpoint's weights onto the device.

    Raises ConfigError for settings the model cannot have, ModelError for a checkpoint that cannot
    be loaded.
    """
    model = load_model_config(config.model, dtype=config.dtype)
    generation = GenerationConfig.read(config.model)
    tokenizer = Tokenizer.load(config.model)
    max_model_len = _max_model_len(config, model.decoder)
    _check_flashinfer(config, model.decoder, model.dtype)
    if executor is None:
        executor = Worker(config, model, model.dtype)
    free_bytes = executor.prepare(
        max_tokens=config.step_tokens,
        max_rows=config.max_logits_rows,
        max_positions=max_model_len,
    )
    capacity = kv_capacity_tokens(config, model.decoder, model.dtype, max_model_len, free_bytes)
    kv = _kv_manager(config, capacity)
    executor.allocate(kv)
    scheduler = Scheduler(config, kv)
    inputs = InputProcessor(
        tokenizer,
        vocab_size=model.decoder.vocab_size,
        eos_token_ids=end_tokens(model, generation, tokenizer),
        max_model_len=max_model_len,
        seed=config.seed,
        check_capacity=scheduler.check_capacity,
    )
    return LLMEngine(
        config,
        model=model,
        generation=generation,
        tokenizer=tokenizer,
        max_model_len=max_model_len,
        inputs=inputs,
        kv=kv,
        scheduler=scheduler,
        executor=executor,
    )


def _kv_manager(config: EngineConfig, capacity: int) -> KVManager:
    if config.kv_layout == "slot":
        return SlotManager(capacity)
    return BlockManager(
        capacity,
        block_size=config.block_size,
        attention_backend=config.attention_backend,
        prefix_cache=PrefixCache(config.block_size) if config.enable_prefix_cache else None,
    )


def _max_model_len(config: EngineConfig, decoder: DecoderConfig) -> int:
    longest = decoder.max_position_embeddings
    if config.max_model_len is None:
        return longest
    if config.max_model_len > longest:
        msg = (
            f"max_model_len={config.max_model_len} is more than the {longest} positions the model "
            "was trained for; use at most that"
        )
        raise ConfigError(msg)
    return config.max_model_len


def _check_flashinfer(config: EngineConfig, decoder: DecoderConfig, dtype: str) -> None:
    """What is known only with the checkpoint."""
    if config.attention_backend != "flashinfer":
        return
    if dtype == "f32":
        msg = (
            "attention_backend='flashinfer' needs dtype 'f16' or 'bf16', the checkpoint is in "
            "'f32'; state one, or use attention_backend='native'"
        )
        raise ConfigError(msg)
    if decoder.head_dim not in (64, 128):
        msg = (
            "attention_backend='flashinfer' needs a model with heads of 64 or 128, this one has "
            f"{decoder.head_dim}; use attention_backend='native'"
        )
        raise ConfigError(msg)
