"""Command line: stagegate generate | serve | doctor."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagegate.config import ATTENTION_BACKENDS, DEVICES, DTYPES, KV_LAYOUTS, LINEAR_BACKENDS
from stagegate.errors import StagegateError
from stagegate.kv.sizing import kv_memory_from_text
from stagegate.server.command import INTERRUPTED
from stagegate.server.command import add_arguments as add_serve_arguments
from stagegate.server.command import run as serve

if TYPE_CHECKING:
    from stagegate.llm import LLM
    from stagegate.outputs import RequestOutput
    from stagegate.sampling import SamplingParams


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 the engine refused or failed, 2 wrong usage, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="stagegate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_generate(commands.add_parser("generate", help="complete prompts with a checkpoint"))
    add_serve_arguments(commands.add_parser("serve", help="OpenAI-compatible server"))
    doctor = commands.add_parser(
        "doctor", help="what was found on this machine, and what is missing"
    )
    doctor.add_argument(
        "--clear-timings", action="store_true",
        help="forget which kernels were the fastest on the GPUs of this machine",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    if arguments.command == "doctor":
        from stagegate.doctor import clear_timings, run

        return clear_timings(sys.stdout) if arguments.clear_timings else run(sys.stdout)
    try:
        return serve(arguments) if arguments.command == "serve" else _generate(arguments)
    except StagegateError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(
            f"error: {error}; what is missing, and how to get it: stagegate doctor",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="folder with the checkpoint")
    parser.add_argument(
        "--prompt", action="append", required=True, help="repeat it for several prompts"
    )
    parser.add_argument("--chat", action="store_true", help="take a prompt as a user's message")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float, help="0 is greedy; default: the checkpoint's")
    parser.add_argument("--top-p", type=float)
    parser.add_argument("--top-k", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--stop", action="append", default=[], help="repeat it for several strings")
    parser.add_argument("--ignore-eos", action="store_true")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="auto")
    parser.add_argument("--kv-layout", choices=KV_LAYOUTS, default="block")
    parser.add_argument("--attention-backend", choices=ATTENTION_BACKENDS, default="native")
    parser.add_argument("--linear-backend", choices=LINEAR_BACKENDS, default="auto")
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--kv-capacity-tokens", type=int)
    parser.add_argument(
        "--kv-memory", metavar="SHARE|SIZE",
        help="memory for the KV cache: a share of what is free, 0.8, or 6GiB",
    )  # fmt: skip
    parser.add_argument("--num-threads", type=int)
    parser.add_argument("--metrics", action="store_true", help="print the metrics of the run")


def _generate(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from stagegate.llm import LLM, GenerationInterrupted

    llm = LLM(
        arguments.model,
        device=arguments.device,
        dtype=arguments.dtype,
        kv_layout=arguments.kv_layout,
        attention_backend=arguments.attention_backend,
        linear_backend=arguments.linear_backend,
        max_model_len=arguments.max_model_len,
        kv_capacity_tokens=arguments.kv_capacity_tokens,
        kv_memory=kv_memory_from_text(arguments.kv_memory),
        num_threads=arguments.num_threads,
    )
    stated: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in ("temperature", "top_p", "top_k", "seed")
        if getattr(arguments, name) is not None
    }
    if arguments.stop:
        stated["stop"] = tuple(arguments.stop)
    params = replace(
        llm.engine.default_sampling_params(max_tokens=arguments.max_tokens),
        ignore_eos=arguments.ignore_eos,
        **stated,
    )
    try:
        outputs = _outputs(llm, arguments, params)
    except GenerationInterrupted as interrupt:
        _print_texts(arguments.prompt, interrupt.outputs)
        raise
    _print_texts(arguments.prompt, outputs)
    if arguments.metrics and llm.last_run is not None:
        for name, value in llm.last_run.as_dict().items():
            print(f"{name}: {value}", file=sys.stderr)
    return 0


def _outputs(
    llm: LLM, arguments: argparse.Namespace, params: SamplingParams
) -> list[RequestOutput]:
    if arguments.chat:
        conversations = [[{"role": "user", "content": prompt}] for prompt in arguments.prompt]
        return llm.chat(conversations, params)
    return llm.generate(arguments.prompt, params)


def _print_texts(prompts: list[str], outputs: list[RequestOutput]) -> None:
    for prompt, output in zip(prompts, outputs, strict=True):
        if len(outputs) > 1:
            print(f"--- {prompt}")
        print(output.outputs[0].text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
