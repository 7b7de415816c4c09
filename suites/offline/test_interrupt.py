"""Ctrl-C during generation keeps the text generated so far."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stagegate import LLM, SamplingParams
from stagegate.execution.executor import PendingStep
from stagegate.execution.step import ScheduledStep
from stagegate.llm import GenerationInterrupted

# The command, with a Ctrl-C during a step.
COMMAND = """
import os, signal, sys
from stagegate.__main__ import main
from stagegate.execution.worker import Worker
submit, steps = Worker.submit, []
def submit_and_interrupt(self, step):
    steps.append(step)
    if len(steps) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGINT)
    return submit(self, step)
Worker.submit = submit_and_interrupt
sys.exit(main(["generate", *sys.argv[2:]]))
"""
GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
PROMPTS = ["Alice was", "Down the", "The Queen"]


def command(step: int, model_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    arguments = ["--model", str(model_path), "--temperature", "0", "--max-tokens", "12",
                 "--ignore-eos", "--num-threads", "1", *flags]  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", COMMAND, str(step), *arguments],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("step", [1, 2, 7])
def test_the_command_prints_what_it_has(model_path: Path, step: int) -> None:
    flags = [flag for prompt in PROMPTS for flag in ("--prompt", prompt)]
    whole = command(0, model_path, *flags)
    assert whole.returncode == 0
    cut = command(step, model_path, *flags)
    assert cut.returncode == 130
    assert cut.stderr == "interrupted\n"
    texts, expected = (out.stdout.split("--- ")[1:] for out in (cut, whole))
    assert [text.splitlines()[0] for text in texts] == PROMPTS
    for text, full in zip(texts, expected, strict=True):
        assert full.startswith(text.rstrip("\n"))
        assert len(text) < len(full)
        # The step that was interrupted is lost, the ones before are not.
        assert (text.rstrip("\n") == text.splitlines()[0]) == (step == 1)


def test_the_exception_carries_the_outputs_and_nothing_is_left(
    model_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = LLM(model_path, device=device, dtype="f32", kv_capacity_tokens=1024)
    whole = [output.outputs[0].token_ids for output in llm.generate(PROMPTS, GREEDY)]
    submit, steps = llm.engine.executor.submit, []

    def interrupted(step: ScheduledStep) -> PendingStep:
        steps.append(step)
        if len(steps) == 5:
            signal.raise_signal(signal.SIGINT)
        return submit(step)

    monkeypatch.setattr(llm.engine.executor, "submit", interrupted)
    with pytest.raises(GenerationInterrupted) as caught:
        llm.generate(PROMPTS, GREEDY)
    for output, expected in zip(caught.value.outputs, whole, strict=True):
        tokens = output.outputs[0].token_ids
        assert 0 < len(tokens) < 12
        assert tokens == expected[: len(tokens)]
        assert output.prompt in PROMPTS
    assert not llm.engine.unfinished_requests
    assert llm.engine.kv_stats().used == 0
    assert [output.outputs[0].token_ids for output in llm.generate(PROMPTS, GREEDY)] == whole
