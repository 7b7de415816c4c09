"""Hugging Face transformers in f32 with sdpa attention: what the engine is measured against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import Qwen2ForCausalLM


def load(path: Path, dtype: torch.dtype = torch.float32) -> Any:
    model = Qwen2ForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
    return model.eval()


def greedy(
    model: Any, prompt: list[int], new_tokens: int
) -> tuple[list[int], npt.NDArray[np.float32]]:
    """Tokens of `generate`, past any end of sequence, and their logits [N, vocab]."""
    with torch.inference_mode():
        output = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=new_tokens,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            eos_token_id=None,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_logits=True,
        )
    logits = torch.stack(output.logits)[:, 0].float().numpy()
    return output.sequences[0, len(prompt) :].tolist(), logits


def near_best(logits: npt.NDArray[np.float32], tolerance: float) -> list[set[int]]:
    """Of each row of logits [N, vocab], the tokens at most `tolerance` below the most likely."""
    best = logits.max(axis=-1, keepdims=True)
    return [set(np.flatnonzero(row).tolist()) for row in logits >= best - tolerance]


def smallest_margin(logits: npt.NDArray[np.float32]) -> float:
    """Least distance between the two highest logits of a row."""
    top = np.sort(logits, axis=-1)[:, -2:]
    return float((top[:, 1] - top[:, 0]).min())
