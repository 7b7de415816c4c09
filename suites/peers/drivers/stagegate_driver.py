"""Stagegate in a comparison, with its defaults."""

from __future__ import annotations

from typing import Any

from engine_driver import Setup, serve


class Stagegate:
    def __init__(self, stated: Setup) -> None:
        from stagegate import LLM

        self._llm = LLM(
            stated["model"],
            device=stated["device"],
            max_model_len=stated["max_model_len"],
            num_threads=stated["num_threads"],
        )

    @property
    def setup(self) -> dict[str, Any]:
        from importlib.metadata import PackageNotFoundError, version

        engine = self._llm.engine
        config = engine.config
        try:
            installed = version("stagegate")
        except PackageNotFoundError:  # of a source tree
            installed = "source tree"
        return {
            "version": installed,
            "dtype": engine.model.dtype,
            "kv_layout": config.kv_layout,
            "linear_backend": config.linear_backend,
            "max_num_batched_tokens": config.step_tokens,
            "max_num_seqs": config.max_num_seqs,
            "prefix_cache": config.enable_prefix_cache,
            "kv_tokens": engine.kv_stats().capacity,
        }

    def generate(self, prompts: list[list[int]], max_tokens: list[int]) -> list[int]:
        from stagegate import SamplingParams

        params = [
            SamplingParams(temperature=0, max_tokens=count, ignore_eos=True) for count in max_tokens
        ]
        outputs = self._llm.generate(prompts, params, progress=False)
        return [len(output.outputs[0].token_ids) for output in outputs]


if __name__ == "__main__":
    serve(Stagegate, packages=("stagegate",))
