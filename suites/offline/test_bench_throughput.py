"""Benchmark: the offline cases of stage 6, and what an engine costs to start."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stagegate import LLM, SamplingParams
from stagegate_harness.ceilings import Ceilings
from stagegate_harness.measure import Measure, Metrics
from suites.offline.least_work import case_work
from suites.offline.throughput_cases import ThroughputCase, cases_for, throughput_cases
from suites.offline.throughput_model import digest_of, presets

ROOT = Path(__file__).parents[2]
# Of requests with several tokens, where the first tokens are part of what is measured.
MEANS = ("avg_req_latency_ms", "avg_ttft_ms", "avg_tpot_ms")
CRITERIA = {
    "test_start_up": ("s6.table",),
    "test_throughput": ("s6.table", "s6.slot-vs-block"),
}

pytestmark = pytest.mark.benchmark(group="throughput")

Checkpoint = Callable[[str], Path]
Engine = Callable[[str, str], LLM]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    presets(metafunc, *CRITERIA[metafunc.function.__name__])


@pytest.fixture(scope="module")
def engine(random_checkpoint: Checkpoint, device: str, num_threads: int) -> Iterator[Engine]:
    """An engine by preset and layout; one at a time, as two do not fit on every GPU."""
    cases = cases_for(device).values()
    running: dict[tuple[str, str], LLM] = {}

    def start(preset: str, kv_layout: str) -> LLM:
        if (preset, kv_layout) not in running:
            running.clear()
            running[preset, kv_layout] = LLM(
                random_checkpoint(preset),
                device=device,
                kv_layout=kv_layout,
                num_threads=num_threads,
                # Room for what runs at a time, so that nothing is computed twice.
                kv_capacity_tokens=max(case.kv_tokens for case in cases),
                max_model_len=max(case.longest for case in cases),
            )
        return running[preset, kv_layout]

    yield start
    running.clear()


def generate(llm: LLM, case: ThroughputCase, index: int) -> float:
    """Seconds of the batch of a round; every request gets as many tokens as it asked for."""
    prompts = case.prompts(index, llm.engine.model.decoder.vocab_size)
    preemptions = llm.engine.num_preemptions
    params = [
        SamplingParams(temperature=0, max_tokens=request.output_len, ignore_eos=True)
        for request in case.requests
    ]
    outputs = llm.generate(prompts, params, progress=False)
    assert [len(output.outputs[0].token_ids) for output in outputs] == [
        request.output_len for request in case.requests
    ]
    assert llm.engine.num_preemptions == preemptions
    assert llm.last_run is not None
    return llm.last_run.seconds


def means(llm: LLM) -> Metrics:
    """Latencies of the requests of the last batch, as the engine saw them."""
    run = llm.last_run
    assert run is not None
    return {name: getattr(run, name) for name in MEANS}


def test_start_up(
    measure: Measure,
    random_checkpoint: Checkpoint,
    preset: str,
    device: str,
    num_threads: int,
) -> None:
    """A process of its own, from its first import to its first token."""
    folder = random_checkpoint(preset)
    case = cases_for(device)["A"]
    command = [
        sys.executable, "-m", "suites.offline.start_up",
        str(folder), device, str(num_threads), str(case.kv_tokens),
    ]  # fmt: skip

    def run(_: int) -> Metrics:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        found: Metrics = json.loads(done.stdout.splitlines()[-1])
        return found

    samples = measure(
        run,
        model_digest=digest_of(folder),
        workload={"kv_capacity_tokens": case.kv_tokens, "num_threads": num_threads},
        trace=False,
    )
    weights = samples["weights_bytes"]
    assert len(set(weights)) == 1
    assert (samples["peak_bytes"][0] or 0) >= (weights[0] or 0)


@pytest.mark.parametrize("case", throughput_cases())
@pytest.mark.parametrize("kv_layout", ["slot", "block"])
def test_throughput(
    measure: Measure,
    ceilings: Ceilings,
    engine: Engine,
    random_checkpoint: Checkpoint,
    preset: str,
    kv_layout: str,
    case: str,
    device: str,
    num_threads: int,
) -> None:
    work = cases_for(device)[case]

    def run(index: int) -> Metrics:
        llm = engine(preset, kv_layout)
        first = generate(llm, work.one_token(), index) if work.decode_only else None
        seconds = generate(llm, work, index)
        shares = case_work(llm.engine.model, work).shares(
            work.measured_seconds(seconds, first), ceilings
        )
        more = means(llm) if first is None and work.output_len > 1 else {}
        return {**work.figures(seconds, first), **more, **shares}

    samples = measure(
        run,
        model_digest=digest_of(random_checkpoint(preset)),
        workload={**work.params(), "num_threads": num_threads},
    )
    assert any(sample is not None for sample in samples[work.metric])
