"""Many concurrent sessions: each gets the same answer as alone, and nothing leaks."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil
import pytest

from stagegate import LLM, SamplingParams
from suites.online.live_server import LiveServer
from suites.online.server_process import server_process

criteria = pytest.mark.criterion("s0.online", "s4.online")

OPENINGS = ("Alice was", "Down the", "The Queen", "The Mock Turtle sighed deeply", "I am", "Oh")


@dataclass(frozen=True)
class Job:
    """A request with the text that the offline engine generates for it."""

    prompt: str
    seed: int
    max_tokens: int
    text: str = ""

    def body(self) -> dict[str, object]:
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "max_tokens": self.max_tokens,
            "temperature": 0.8,
            "top_p": 0.9,
            "top_k": 50,
            "ignore_eos": True,
            "stream": True,
        }


def jobs_with_texts(llm: LLM, count: int, longest: int) -> list[Job]:
    rng = random.Random(3)
    jobs = [
        Job(rng.choice(OPENINGS), seed, rng.randrange(longest // 4, longest))
        for seed in range(count)
    ]
    base = replace(
        llm.engine.default_sampling_params(max_tokens=1),
        temperature=0.8, top_p=0.9, top_k=50, ignore_eos=True,
    )  # fmt: skip
    params: list[SamplingParams] = [
        replace(base, seed=job.seed, max_tokens=job.max_tokens) for job in jobs
    ]
    outputs = llm.generate([job.prompt for job in jobs], params)
    return [
        replace(job, text=output.outputs[0].text) for job, output in zip(jobs, outputs, strict=True)
    ]


async def texts(response: httpx.Response) -> AsyncIterator[tuple[str, str]]:
    """Id of the answer and text of each event; the end must be [DONE]."""
    last = ""
    async for line in response.aiter_lines():
        if line:
            last = line.removeprefix("data: ")
            if last != "[DONE]":
                event = json.loads(last)
                yield event["id"], event["choices"][0]["text"]
    assert last == "[DONE]"


async def run_job(client: httpx.AsyncClient, job: Job, leaves_by: str) -> None:
    """Stream a job or a part of it; the text received must be a prefix of the job's text."""
    received = ""
    stay = random.Random(job.seed).randrange(1, 8) if leaves_by else 1 << 30
    async with client.stream("POST", "/v1/completions", json=job.body()) as response:
        assert response.status_code == 200
        pieces = 0
        async for request_id, text in texts(response):
            received += text
            pieces += 1
            if pieces == stay:
                if leaves_by == "disconnect":
                    break
                await client.post(f"/v1/requests/{request_id}/cancel")
    if leaves_by:
        assert job.text.startswith(received)
    else:
        assert received == job.text


async def run_sessions(url: str, jobs: list[Job], sessions: int, seconds: float) -> Counter[str]:
    """Sessions that run one job after another; one in five is abandoned, half by a cancel."""
    done: Counter[str] = Counter()
    until = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None)

    async def session(number: int, client: httpx.AsyncClient) -> None:
        rng = random.Random(number)
        while not done[f"session {number}"] or time.monotonic() < until:
            leaves_by = rng.choice(("", "", "", "", "", "", "", "", "disconnect", "cancel"))
            await run_job(client, rng.choice(jobs), leaves_by)
            done[leaves_by or "to the end"] += 1
            done[f"session {number}"] += 1

    async with (
        httpx.AsyncClient(base_url=url, timeout=900, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(sessions):
            group.create_task(session(number, client))
    return done


@pytest.fixture(scope="module")
def offline(model_path: Path, kv_layout: str, device: str, num_threads: int) -> LLM:
    return LLM(
        model_path, device=device, dtype="f32", kv_layout=kv_layout, kv_capacity_tokens=8192,
        num_threads=num_threads,
    )  # fmt: skip


@criteria
def test_sessions_do_not_mix(server: LiveServer, offline: LLM) -> None:
    """There are more sessions than the cache can hold: some wait, some are recomputed."""
    jobs = jobs_with_texts(offline, count=30, longest=100)
    done = asyncio.run(run_sessions(server.url, jobs, sessions=50, seconds=1.0))
    assert done["to the end"] >= 30
    assert done["disconnect"]
    assert done["cancel"]
    server.wait_until_idle()


@pytest.mark.soak
def test_two_hundred_sessions_for_five_minutes(
    model_path: Path, kv_layout: str, device: str, offline: LLM, num_threads: int
) -> None:
    jobs = jobs_with_texts(offline, count=100, longest=200)
    flags = (
        "--kv-capacity-tokens", "8192", "--num-threads", str(num_threads), "--no-access-log",
    )  # fmt: skip
    with server_process(model_path, device, kv_layout, *flags) as (url, pid):
        process = psutil.Process(pid)
        asyncio.run(run_sessions(url, jobs, sessions=200, seconds=20))
        before = process.memory_info().rss
        done = asyncio.run(run_sessions(url, jobs, sessions=200, seconds=300))
        assert done["to the end"] >= 1000
        stats = httpx.get(f"{url}/v1/stats").json()["models"]["tiny"]
        assert (stats["running"], stats["waiting"], stats["kv_used_tokens"]) == (0, 0, 0)
        assert stats["preemptions"] > 0
        assert process.memory_info().rss < 1.05 * before + (16 << 20)
        deadline = time.monotonic() + 5
        while len(process.net_connections()) > 2:  # the clients have closed theirs
            assert time.monotonic() < deadline
            time.sleep(0.1)
