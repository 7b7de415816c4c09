"""vLLM in a comparison, with its defaults, by its public offline API.

It gets token ids and returns them: it is spared its tokenizer, whatever that would cost.
"""

from __future__ import annotations

from typing import Any

from engine_driver import Setup, serve


class Vllm:
    def __init__(self, stated: Setup) -> None:
        from vllm import LLM

        self._llm = LLM(
            model=stated["model"],
            max_model_len=stated["max_model_len"],
            skip_tokenizer_init=True,
        )

    @property
    def setup(self) -> dict[str, Any]:
        import torch
        import vllm

        config = self._llm.llm_engine.vllm_config
        scheduler, cache = config.scheduler_config, config.cache_config
        # Not all are there in every version.
        settings = {
            "dtype": str(getattr(config.model_config, "dtype", None)),
            "max_num_batched_tokens": getattr(scheduler, "max_num_batched_tokens", None),
            "max_num_seqs": getattr(scheduler, "max_num_seqs", None),
            "async_scheduling": getattr(scheduler, "async_scheduling", None),
            "prefix_cache": getattr(cache, "enable_prefix_caching", None),
            "memory_share": getattr(cache, "gpu_memory_utilization", None),
            "graphs": str(getattr(config.compilation_config, "cudagraph_mode", None)),
        }
        return {"version": vllm.__version__, "torch": torch.__version__, **settings}

    def generate(self, prompts: list[list[int]], max_tokens: list[int]) -> list[int]:
        from vllm import SamplingParams, TokensPrompt

        params = [
            SamplingParams(temperature=0, max_tokens=count, ignore_eos=True, detokenize=False)
            for count in max_tokens
        ]
        requests = [TokensPrompt(prompt_token_ids=prompt) for prompt in prompts]
        outputs = self._llm.generate(requests, params, use_tqdm=False)
        return [len(output.outputs[0].token_ids) for output in outputs]


if __name__ == "__main__":  # an engine core in a process of its own imports this file again
    serve(Vllm, packages=("vllm", "torch"))
