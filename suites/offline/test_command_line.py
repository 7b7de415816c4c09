"""The stagegate command in a shell, and its start-up time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stagegate import LLM


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=600, check=False
    )


def test_generate_prints_the_text(model_path: Path) -> None:
    done = run(
        "-m", "stagegate", "generate", "--model", str(model_path), "--prompt", "Alice was",
        "--temperature", "0", "--max-tokens", "12", "--ignore-eos", "--metrics",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    llm = LLM(model_path)
    recommended = llm.engine.default_sampling_params(max_tokens=12)
    params = replace(recommended, temperature=0, ignore_eos=True)
    [output] = llm.generate("Alice was", params)
    assert done.stdout == f"{output.outputs[0].text}\n"
    assert "completion_tokens: 12" in done.stderr


def test_chat_and_several_prompts(model_path: Path) -> None:
    questions = ["Who wrote this book?", "Tell me about the Caterpillar."]
    done = run(
        "-m", "stagegate", "generate", "--model", str(model_path), "--chat", "--temperature", "0",
        "--max-tokens", "16", "--prompt", questions[0], "--prompt", questions[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    llm = LLM(model_path)
    params = replace(llm.engine.default_sampling_params(max_tokens=16), temperature=0)
    outputs = llm.chat([[{"role": "user", "content": question}] for question in questions], params)
    printed = [
        f"--- {question}\n{output.outputs[0].text}\n"
        for question, output in zip(questions, outputs, strict=True)
    ]
    assert done.stdout == "".join(printed)


def test_refusal_is_one_line(tmp_path: Path) -> None:
    done = run("-m", "stagegate", "generate", "--model", str(tmp_path / "no"), "--prompt", "x")
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("error:")
    assert "no such folder" in line


@pytest.mark.parametrize("arguments", [["generate"], ["fly"], []])
def test_wrong_usage(arguments: list[str]) -> None:
    assert run("-m", "stagegate", *arguments).returncode == 2


def seconds_of(statement: str, setup: str = "pass") -> float:
    """Processor time of the thread that starts, least of three fresh processes.

    By the clock a start takes as long as whatever else the machine does lets it, and a process has
    threads that wait for work by spinning: NumPy's BLAS starts one for every core.
    """
    script = (
        f"import time\n{setup}\nstart = time.thread_time()\n{statement}\n"
        "print(time.thread_time() - start)"
    )
    return min(float(run("-c", script).stdout) for _ in range(3))


def test_import_is_fast() -> None:
    assert seconds_of("import stagegate") < 0.3


@pytest.mark.tiny_model
def test_start_is_fast(model_path: Path) -> None:
    setup = "import stagegate"
    assert seconds_of(f"stagegate.LLM({str(model_path)!r})", setup) < 1.0
