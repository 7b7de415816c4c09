"""Mixed requests for a while, in a cache too small for them: nothing fails, nothing is left."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from engine import LLM
from engine.llm_engine import LLMEngine
from engine.request import Request
from engine.sampling import MAX_LOGPROBS
from suites.offline.memory_use import device_bytes, host_bytes
from suites.offline.same_answer import is_same_answer, near_tie
from suites.offline.soak_traffic import Job, draw_jobs

CAPACITY = 1024
IN_FLIGHT = 24
REPEATED = 24
# Seconds. So often everything has to come to its end, and to be as it was.
CHECK_EVERY = 60

# Kernels are loaded when they are first needed, some of them late. The least that a step could
# leave in the pool, 512 bytes, comes to more than this in the long run.
DEVICE_GROWTH = 32 << 20


@dataclass
class Soak:
    """Keeps an engine busy. Each request that ends is checked and counted."""

    engine: LLMEngine
    jobs: Iterator[Job]
    counts: Counter[str] = field(default_factory=Counter)
    answers: list[tuple[Job, list[int]]] = field(default_factory=list)
    _rng: random.Random = field(default_factory=lambda: random.Random(1))
    _running: dict[str, Job] = field(default_factory=dict)

    def run(self, seconds: float) -> None:
        """Submit, step and cancel for so long; then let what is left come to its end."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            while len(self._running) < IN_FLIGHT:
                self._submit(next(self.jobs))
            self._step()
            if self._rng.random() < 0.05:
                self._cancel(self._rng.choice(list(self._running)))
        while self._running:
            self._step()

    def _submit(self, job: Job) -> None:
        request_id = self.engine.add_request(job.prompt, job.params)
        self._running[request_id] = job
        self.counts["submitted"] += 1

    def _step(self) -> None:
        for request in self.engine.step():
            assert request.error is None, request.error
            if request.finished:
                self._end(request, self._running.pop(request.request_id))

    def _end(self, request: Request, job: Job) -> None:
        outputs = request.output().outputs
        assert len(outputs) == job.params.n
        for output in outputs:
            assert output.finish_reason in {"stop", "length"}
            assert job.params.max_tokens is not None
            assert len(output.token_ids) <= job.params.max_tokens
        self.counts["finished"] += 1
        if job.repeatable:
            # A sample in which each has the same chance to be (Vitter, 1985, algorithm R).
            self.counts["repeatable"] += 1
            answer = (job, outputs[0].token_ids)
            if len(self.answers) < REPEATED:
                self.answers.append(answer)
            elif (place := self._rng.randrange(self.counts["repeatable"])) < REPEATED:
                self.answers[place] = answer

    def _cancel(self, request_id: str) -> None:
        del self._running[request_id]
        request = self.engine.abort_request(request_id)
        assert request is not None
        assert request.finished
        self.counts["cancelled"] += 1


def check_soak(
    model_path: Path, device: str, layout: str, num_threads: int, *, warm_up: int, seconds: int
) -> None:
    def start(**settings: object) -> LLM:
        return LLM(
            model_path, device=device, layout=layout, kv_capacity_tokens=CAPACITY,
            max_num_batched_tokens=192, max_num_seqs=64, num_threads=num_threads, **settings,
        )  # fmt: skip

    llm = start()
    engine = llm.engine
    soak = Soak(engine, draw_jobs(engine.model.vocab_size, seed=0))
    soak.run(warm_up)
    host, on_device = host_bytes(), device_bytes() if device == "cuda" else 0
    counts = soak.counts
    for start_s in range(0, seconds, CHECK_EVERY):
        stop_s = min(start_s + CHECK_EVERY, seconds)
        soak.run(stop_s - start_s)
        host_growth = host_bytes() - host
        device_growth = device_bytes() - on_device if device == "cuda" else 0
        stats = engine.kv_stats()
        print(
            f"\n{layout}, {stop_s} s: {dict(counts)}, {engine.num_preemptions} preemptions, "
            f"{stats}; grown by {host_growth >> 10} KiB on the host, "
            f"{device_growth >> 10} KiB on the device",
            flush=True,
        )
        assert device_growth <= DEVICE_GROWTH
        assert host_growth <= 0.05 * host + (16 << 20)
        assert counts["submitted"] == counts["finished"] + counts["cancelled"]
        assert not engine.unfinished_requests
        assert (engine.num_running, engine.num_waiting, stats.used) == (0, 0, 0)
    # What did not happen was not tried.
    assert engine.num_preemptions > 0
    assert counts["cancelled"] > 0
    assert len(soak.answers) == REPEATED
    if layout == "block":
        assert stats.prefix_hits > 0
        assert stats.evictions > 0

    alone = start(enable_prefix_cache=False)
    for job, tokens in soak.answers:
        [output] = alone.generate([job.prompt], replace(job.params, logprobs=MAX_LOGPROBS))
        assert is_same_answer(tokens, output.outputs[0], near_tie(engine.config)), job


@pytest.mark.criterion("s4.no-device-errors")
def test_mixed_requests(model_path: Path, device: str, layout: str, num_threads: int) -> None:
    check_soak(model_path, device, layout, num_threads, warm_up=4, seconds=6)


@pytest.mark.soak
@pytest.mark.criterion("s4.soak")
def test_mixed_requests_for_minutes(
    model_path: Path, device: str, layout: str, num_threads: int, soak_seconds: int
) -> None:
    check_soak(model_path, device, layout, num_threads, warm_up=30, seconds=soak_seconds)
