"""Hugging Face transformers in a comparison: generate() on one padded batch, with its defaults.

It has one number of new tokens for a batch, so requests of different lengths all run as long as the
longest, and what nobody asked for is cut off.
"""

from __future__ import annotations

from typing import Any

from engine_driver import Setup, serve


class Transformers:
    def __init__(self, stated: Setup) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(stated["num_threads"])
        model = AutoModelForCausalLM.from_pretrained(stated["model"], dtype="auto")
        self._device = stated["device"]
        self._model: Any = model.eval().to(self._device)

    @property
    def setup(self) -> dict[str, Any]:
        import torch
        import transformers

        return {
            "version": transformers.__version__,
            "torch": torch.__version__,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "attention": self._model.config._attn_implementation,
        }

    def generate(self, prompts: list[list[int]], max_tokens: list[int]) -> list[int]:
        import torch

        longest = max(map(len, prompts))
        padding = [longest - len(prompt) for prompt in prompts]
        ids = [[0] * pad + prompt for pad, prompt in zip(padding, prompts, strict=True)]
        mask = [[0] * pad + [1] * (longest - pad) for pad in padding]
        count = max(max_tokens)
        with torch.inference_mode():
            sequences = self._model.generate(
                torch.tensor(ids, device=self._device),
                attention_mask=torch.tensor(mask, device=self._device),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                pad_token_id=0,
            ).tolist()
        return [
            min(wanted, len(sequence) - longest)
            for wanted, sequence in zip(max_tokens, sequences, strict=True)
        ]


if __name__ == "__main__":
    serve(Transformers, packages=("torch", "transformers"))
