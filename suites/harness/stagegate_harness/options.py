"""Command-line options of the harness, and their parsed form."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.config import BACKENDS, LAYOUTS
from stagegate_harness.stages import find_stage, load_stages

# The option names the maker, the engine its programming model.
ENGINE_DEVICES = {"cpu": "cpu", "nvidia": "cuda"}
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
class Settings:
    """The options of one pytest run. None on an axis selects all of it.

    bench_seconds: how long the rounds of a benchmark take together, at least.
    load_rate: conversations a second that open loops begin. Apart from the workload, which is part
    of what every other benchmark is compared by.
    soak_seconds: how long a soak measures, its warm-up apart.
    cases_per_test: most parameter sets of a test that run; None: all.
    """

    stage: str | None
    device: str
    layout: str | None
    backend: str | None
    dtype: str | None
    model_path: Path
    recorded_model: Path
    run_parity: str
    run_hf: str
    require: frozenset[str]
    num_threads: int
    workload: Workload
    bench_seconds: float
    load_rate: float
    soak_seconds: int
    cases_per_test: int | None


SETTINGS = pytest.StashKey[Settings]()


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("stagegate", "stages and axes of the engine's suites")
    group.addoption("--stage", metavar="stageN", help="run the suites of one stage")
    group.addoption("--device", choices=ENGINE_DEVICES, help="default: the stage's, else cpu")
    group.addoption("--layout", choices=LAYOUTS, help="KV cache layout; default: both")
    group.addoption("--backend", choices=BACKENDS, help="attention form; default: native and csr")
    group.addoption("--dtype", choices=DTYPES, help="default: all")
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
    group.addoption("--num-threads", type=_positive, help="CPU threads; default: all allowed")
    group.addoption(
        "--bench-rounds",
        type=_positive,
        default=5,
        help="measured rounds a case, or more to fill --benchmark-max-time; default: 5",
    )
    group.addoption("--bench-prompts", type=_positive, default=8, help="prompts a round")
    group.addoption("--bench-input-len", type=_positive, default=64, help="tokens a prompt")
    group.addoption("--bench-output-len", type=_positive, default=64, help="tokens a completion")
    group.addoption("--bench-seed", type=int, default=0, help="seed of the workload")
    group.addoption(
        "--bench-rate",
        type=_rate,
        default=30.0,
        help="conversations a second that the open loops of the online benchmarks begin",
    )
    group.addoption(
        "--cases-per-test",
        type=_positive,
        metavar="N",
        help="run N parameter sets of each test, with as many values of its parameters as they can "
        "have; what is left out proves nothing",
    )
    group.addoption(
        "--soak-seconds",
        type=_positive,
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


def read_settings(config: pytest.Config) -> Settings:
    """The parsed options. Raises pytest.UsageError for a model folder that is no checkpoint."""
    recorded_model = (config.rootpath / DEFAULT_MODEL).resolve()
    stated = config.getoption("--model-path")
    # Relative to where pytest was started, whatever has become the working directory since.
    model_path = config.invocation_params.dir / stated if stated else recorded_model
    _check_checkpoint(model_path)
    stage = find_stage(load_stages(config.rootpath), config.getoption("--stage"))
    device = config.getoption("--device") or (stage.device if stage else "cpu")
    if stage and stage.device not in ("cpu", device):
        msg = f"--device {device}: {stage.name} is about {stage.device}; leave the option out"
        raise pytest.UsageError(msg)
    return Settings(
        stage=stage.name if stage else None,
        device=ENGINE_DEVICES[device],
        layout=config.getoption("--layout"),
        backend=config.getoption("--backend"),
        dtype=config.getoption("--dtype"),
        model_path=model_path.resolve(),
        recorded_model=recorded_model,
        run_parity=config.getoption("--run-parity"),
        run_hf=config.getoption("--run-hf"),
        require=config.getoption("--require"),
        num_threads=config.getoption("--num-threads") or len(os.sched_getaffinity(0)),
        workload=Workload(
            rounds=config.getoption("--bench-rounds"),
            prompts=config.getoption("--bench-prompts"),
            input_len=config.getoption("--bench-input-len"),
            output_len=config.getoption("--bench-output-len"),
            seed=config.getoption("--bench-seed"),
            repeat_prompts=config.getoption("--bench-repeat-prompts"),
        ),
        # An option of pytest-benchmark, which need not be there.
        bench_seconds=float(config.getoption("benchmark_max_time", 0)),
        load_rate=config.getoption("--bench-rate"),
        soak_seconds=config.getoption("--soak-seconds"),
        cases_per_test=config.getoption("--cases-per-test"),
    )


def attention_of(settings: Settings) -> str:
    """Whose kernels attention over block tables takes where a test does not say: native, or on a
    GPU flashinfer when --backend asks for it.
    """
    asked_for = settings.backend == "flashinfer" and settings.device == "cuda"
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


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        msg = f"{text!r} is not a positive whole number"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _requirements(text: str) -> frozenset[str]:
    names = frozenset(text.split(","))
    unknown = sorted(names.difference(REQUIREMENTS))
    if unknown:
        msg = f"unknown requirement {', '.join(unknown)!r}; known: {', '.join(REQUIREMENTS)}"
        raise argparse.ArgumentTypeError(msg)
    return names
