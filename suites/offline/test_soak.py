"""Mixed requests in a cache that is too small for them: nothing fails, nothing leaks."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stagegate import LLM
from stagegate.core.llm_engine import LLMEngine
from stagegate.core.request import Request
from stagegate.sampling import MAX_LOGPROBS
from stagegate_baselines import fingerprint
from suites.offline.hang_watch import HangWatch
from suites.offline.memory_use import DeviceMemory, device_memory, host_bytes
from suites.offline.same_answer import is_same_answer, near_tie
from suites.offline.soak_traffic import Job, draw_jobs

CAPACITY = 1024
IN_FLIGHT = 24
REPEATED = 24
# Seconds. So often everything has to come to its end, and to be as it was.
CHECK_EVERY = 60
# Steps. What is in flight when no more is submitted takes some hundreds, whatever the model.
DRAIN_WITHIN = 10_000
# Seconds.
STEP_WITHIN = 30

# Since the warm-up: kernels are loaded and graphs captured as they are first needed, some late.
WARMING_DEVICE_GROWTH = 32 << 20

# In the second half of the long soak, which has met all shapes that it will: room for a graph or
# two that take the place of others, a few hundred kilobytes each. The least that a step could leave
# in the pool, 512 bytes, comes to 80 MiB in four minutes of steps of 1.5 ms.
DEVICE_GROWTH = 4 << 20
# The same of the heap, whose free parts are never quite the same.
HOST_GROWTH = 4 << 20
# What tracemalloc counts for a request of this traffic that somebody keeps when it has ended.
REQUEST_BYTES = 12 << 10
# A kind of request, or an event such as a cancel, is a tenth of the traffic or more: leaking every
# time it comes to five times this. Of the 70,000 requests an H200 serves in four minutes a fiftieth
# is 16 MiB.
LEAKED_SHARE = 1 / 50


@dataclass(frozen=True)
class Reading:
    """An engine with nothing in flight. events: how often each happened since the start.

    device: None on the CPU.
    """

    events: Counter[str]
    host_bytes: int
    device: DeviceMemory | None

    def since(self, before: Reading) -> Counter[str]:
        return Counter({name: n - before.events[name] for name, n in self.events.items()})

    def host_growth(self, before: Reading) -> int:
        return self.host_bytes - before.host_bytes

    def device_growth(self, before: Reading) -> int:
        if self.device is None or before.device is None:
            return 0
        assert self.device.whose == before.device.whose
        return self.device.size_bytes - before.device.size_bytes

    def line(self, before: Reading) -> str:
        """Events since the previous reading, and the memory in use."""
        parts = [f"{number} {name}" for name, number in self.since(before).items()]
        parts.append(f"host {self.host_bytes >> 10} KiB {self.host_growth(before) >> 10:+}")
        if self.device is not None:
            grown = self.device_growth(before) >> 10
            parts.append(
                f"device {self.device.size_bytes >> 10} KiB {grown:+}, {self.device.whose}"
            )
        return ", ".join(parts)


@dataclass
class Soak:
    """Keeps an engine busy. Each request that ends is checked and counted."""

    engine: LLMEngine
    jobs: Iterator[Job]
    watch: HangWatch
    counts: Counter[str] = field(default_factory=Counter)
    answers: list[tuple[Job, list[int]]] = field(default_factory=list)
    _rng: random.Random = field(default_factory=lambda: random.Random(1))
    _running: dict[str, Job] = field(default_factory=dict)

    def run(self, seconds: float, least_answers: int = 0) -> None:
        """Submit, step and cancel that long, and longer where a slow model has not given
        `least_answers` to repeat; then let what is left come to its end.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until or len(self.answers) < least_answers:
            while len(self._running) < IN_FLIGHT:
                self._submit(next(self.jobs))
            self._step()
            if self._rng.random() < 0.05:
                self._cancel(self._rng.choice(list(self._running)))
        for _ in range(DRAIN_WITHIN):
            if not self._running:
                return
            self._step()
        pytest.fail(f"{len(self._running)} requests do not end; {self.engine.kv_stats()}")

    def read(self) -> Reading:
        """Between runs: all that was submitted has ended, and its memory is free."""
        engine, counts, stats = self.engine, self.counts, self.engine.kv_stats()
        assert counts["submitted"] == counts["finished"] + counts["cancelled"]
        assert not engine.unfinished_requests
        assert (engine.num_running, engine.num_waiting, stats.used) == (0, 0, 0)
        events = {
            "finished": counts["finished"],
            "cancelled": counts["cancelled"],
            "preemptions": engine.num_preemptions,
            "prefix hits": stats.prefix_hits,
            "evictions": stats.evictions,
        }
        on_gpu = engine.config.device == "cuda"
        return Reading(Counter(events), host_bytes(), device_memory() if on_gpu else None)

    def _submit(self, job: Job) -> None:
        request_id = self.engine.add_request(job.prompt, job.params)
        self._running[request_id] = job
        self.counts["submitted"] += 1

    def _step(self) -> None:
        self.watch.alive()
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


def readings_of_soak(
    model_path: Path, device: str, kv_layout: str, num_threads: int, log: Path, *,
    warm_up: int, seconds: int,
) -> list[Reading]:  # fmt: skip
    """One behind the warm-up, then one a minute. Each is a line in the log when it is taken."""

    def start(**settings: object) -> LLM:
        return LLM(
            model_path, device=device, kv_layout=kv_layout, kv_capacity_tokens=CAPACITY,
            max_num_batched_tokens=192, max_num_seqs=64, num_threads=num_threads, **settings,
        )  # fmt: skip

    def write(line: str) -> None:
        print(f"\n{line}", end="", flush=True)
        with log.open("a") as file:
            file.write(f"{line}\n")

    root = Path(__file__).parents[2]
    revision, dirty = fingerprint.source_state(root, ["baselines/store"])
    write(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, {kv_layout} on {fingerprint.machine().kind}, "
        f"revision {revision}{' with changes' if dirty else ''}: "
        f"{warm_up} and {seconds} s"
    )
    with HangWatch(log, STEP_WITHIN) as watch:
        engine = start().engine
        soak = Soak(engine, draw_jobs(engine.model.decoder.vocab_size, seed=0), watch)
        soak.run(warm_up)
        readings = [soak.read()]
        for start_s in range(0, seconds, CHECK_EVERY):
            stop_s = min(start_s + CHECK_EVERY, seconds)
            soak.run(stop_s - start_s, REPEATED)
            before, now = readings[-1], soak.read()
            write(f"{kv_layout}, {stop_s} s: {now.line(before)}")
            readings.append(now)
            # What did not happen was not tried.
            cached = {"prefix hits", "evictions"}
            for name, number in now.since(before).items():
                assert number > 0 or (kv_layout == "slot" and name in cached), name
        assert len(soak.answers) == REPEATED

        alone = start(enable_prefix_cache=False)
        for job, tokens in soak.answers:
            watch.alive()
            [output] = alone.generate([job.prompt], replace(job.params, logprobs=MAX_LOGPROBS))
            assert is_same_answer(tokens, output.outputs[0], near_tie(engine.config)), job
    write(f"{kv_layout}: {REPEATED} answers are the same alone")
    return readings


def check_growth_since(warm: Reading, later: list[Reading]) -> None:
    for reading in later:
        assert reading.device_growth(warm) <= WARMING_DEVICE_GROWTH
        assert reading.host_growth(warm) <= 0.05 * warm.host_bytes + (16 << 20)


@pytest.mark.tiny_model  # about memory under load, and a large model does little in ten seconds
@pytest.mark.criterion("s4.no-device-errors")
def test_mixed_requests(
    model_path: Path, device: str, kv_layout: str, num_threads: int, run_log: Path
) -> None:
    warm, *later = readings_of_soak(
        model_path, device, kv_layout, num_threads, run_log, warm_up=4, seconds=6
    )
    check_growth_since(warm, later)


@pytest.mark.soak
@pytest.mark.criterion("s4.soak")
def test_mixed_requests_for_minutes(
    model_path: Path,
    device: str,
    kv_layout: str,
    num_threads: int,
    soak_seconds: int,
    run_log: Path,
) -> None:
    readings = readings_of_soak(
        model_path, device, kv_layout, num_threads, run_log, warm_up=60, seconds=soak_seconds
    )
    check_growth_since(readings[0], readings[1:])
    half = (len(readings) - 1) // 2
    middle = readings[half]
    for later in readings[half + 1 :]:
        served = later.since(middle)["finished"] + later.since(middle)["cancelled"]
        assert later.device_growth(middle) <= DEVICE_GROWTH
        assert later.host_growth(middle) <= HOST_GROWTH + LEAKED_SHARE * served * REQUEST_BYTES
