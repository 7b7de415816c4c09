"""Command-line options of the engine's suites, and their parsed form."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from stagegate_harness.options import PROJECT, SETTINGS, positive

DTYPES = ("f32", "f16", "bf16")
RUN_CHOICES = ("auto", "always", "never")
REQUIREMENTS = ("gpu", "cupti", "flashinfer", "hf")
# What the criterion of a soak promises.
SOAK_SECONDS = 480
DEFAULT_MODEL = Path("suites/models/tiny-qwen2")
# What every checkpoint has, as Hugging Face stores it.
CHECKPOINT_FILES = ("config.json", "tokenizer.json", "*.safetensors")


@dataclass(frozen=True)
class Workload:
    """What a benchmark runs; lengths in tokens.

    repeat_prompts: every round has the same prompts; else each has its own, which no cache knows.
    """

    rounds: int
    prompts: int
    input_len: int
    output_len: int
    seed: int
    repeat_prompts: bool


@dataclass(frozen=True)
class EngineSettings:
    """The options of one pytest run that are about the engine.

    load_rate: conversations a second that open loops begin. Apart from the workload, which is part
    of what every other benchmark is compared by.
    soak_seconds: how long a soak measures, its warm-up apart.
    """

    device: str
    attention_backend: str | None
    model_path: Path
    recorded_model: Path
    run_parity: str
    run_hf: str
    require: frozenset[str]
    num_threads: int
    workload: Workload
    load_rate: float
    soak_seconds: int


ENGINE = pytest.StashKey[EngineSettings]()


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("stagegate")
    group.addoption(
        "--model-path",
        type=_folder,
        metavar="DIR",
        help=f"checkpoint to run; default: {DEFAULT_MODEL}",
    )
    group.addoption(
        "--run-parity",
        choices=RUN_CHOICES,
        default="auto",
        help="comparisons with Hugging Face, recorded, by the reference and live: auto where "
        "possible, always (what cannot run fails) or never",
    )
    group.addoption(
        "--run-hf",
        choices=RUN_CHOICES,
        default="auto",
        help="tests that run Hugging Face itself: auto where torch and transformers are installed, "
        "always (missing packages fail) or never",
    )
    group.addoption(
        "--require",
        type=_requirements,
        default=frozenset(),
        metavar="NAME[,NAME]",
        help=f"fail instead of skipping what lacks one of: {', '.join(REQUIREMENTS)}",
    )
    group.addoption("--num-threads", type=positive, help="CPU threads; default: all allowed")
    group.addoption("--bench-prompts", type=positive, default=8, help="prompts a round")
    group.addoption("--bench-input-len", type=positive, default=64, help="tokens a prompt")
    group.addoption("--bench-output-len", type=positive, default=64, help="tokens a completion")
    group.addoption("--bench-seed", type=int, default=0, help="seed of the workload")
    group.addoption(
        "--bench-rate",
        type=_rate,
        default=30.0,
        help="conversations a second that the open loops of the online benchmarks begin",
    )
    group.addoption(
        "--soak-seconds",
        type=positive,
        default=SOAK_SECONDS,
        metavar="N",
        help="how long a soak of the engine runs on a layout, under -m soak; default: "
        f"{SOAK_SECONDS}, and less proves nothing",
    )
    group.addoption(
        "--bench-repeat-prompts",
        action="store_true",
        help="the same prompts in every round, so that a prefix cache knows them after the first",
    )


def read_settings(config: pytest.Config) -> EngineSettings:
    """The parsed options. Raises pytest.UsageError for a model folder that is no checkpoint."""
    settings = config.stash[SETTINGS]
    recorded_model = (config.stash[PROJECT].root / DEFAULT_MODEL).resolve()
    stated = config.getoption("--model-path")
    # Relative to where pytest was started, whatever has become the working directory since.
    model_path = config.invocation_params.dir / stated if stated else recorded_model
    _check_checkpoint(model_path)
    return EngineSettings(
        device=settings.device,
        attention_backend=settings.axes["attention_backend"],
        model_path=model_path.resolve(),
        recorded_model=recorded_model,
        run_parity=config.getoption("--run-parity"),
        run_hf=config.getoption("--run-hf"),
        require=config.getoption("--require"),
        num_threads=config.getoption("--num-threads") or len(os.sched_getaffinity(0)),
        workload=Workload(
            rounds=settings.rounds,
            prompts=config.getoption("--bench-prompts"),
            input_len=config.getoption("--bench-input-len"),
            output_len=config.getoption("--bench-output-len"),
            seed=config.getoption("--bench-seed"),
            repeat_prompts=config.getoption("--bench-repeat-prompts"),
        ),
        load_rate=config.getoption("--bench-rate"),
        soak_seconds=config.getoption("--soak-seconds"),
    )


def attention_of(settings: EngineSettings) -> str:
    """Whose kernels attention over block tables takes where a test does not say: native, or on a
    GPU flashinfer when --attention-backend asks for it.
    """
    asked_for = settings.attention_backend == "flashinfer" and settings.device == "cuda"
    return "flashinfer" if asked_for else "native"


def _check_checkpoint(folder: Path) -> None:
    if not folder.is_dir():
        msg = f"--model-path: no folder {folder}"
        raise pytest.UsageError(msg)
    missing = [pattern for pattern in CHECKPOINT_FILES if not any(folder.glob(pattern))]
    if missing:
        msg = f"--model-path: {folder} is no checkpoint, it lacks {', '.join(missing)}"
        raise pytest.UsageError(msg)


def _folder(text: str) -> Path:
    return Path(text).expanduser()  # a shell expands no ~ after the = of an option


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        msg = f"{text!r} is not a positive number a second"
        raise argparse.ArgumentTypeError(msg)
    return rate


def _requirements(text: str) -> frozenset[str]:
    names = frozenset(text.split(","))
    unknown = sorted(names.difference(REQUIREMENTS))
    if unknown:
        msg = f"unknown requirement {', '.join(unknown)!r}; known: {', '.join(REQUIREMENTS)}"
        raise argparse.ArgumentTypeError(msg)
    return names
