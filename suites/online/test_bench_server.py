"""Benchmark: what the server adds to an engine that computes nothing."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing, closing
from pathlib import Path
from statistics import median

import pytest

from stagegate.async_llm import AsyncLLM
from stagegate.sampling import SamplingParams
from stagegate_harness.measure import Measure, Metrics
from suites.online.null_server import null_engine
from suites.online.null_server_process import null_server

STREAMS = 16
TOKENS_A_STREAM = 500
STEP_SECONDS = 0.004
TTFT_REQUESTS = 200


def request_of(max_tokens: int) -> bytes:
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": "Say the."}],
            "max_tokens": max_tokens,
            "ignore_eos": True,
            "stream": True,
        }
    ).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )


async def stream(port: int, max_tokens: int) -> list[str]:
    """The texts of the events of one answer, read as cheaply as can be."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    writer.write(request_of(max_tokens))
    received = await reader.readuntil(b"data: [DONE]\n\n")
    writer.close()
    await writer.wait_closed()
    events = [line for line in received.split(b"\n") if line.startswith(b"data: {")]
    choices = [choice for event in events for choice in json.loads(event[6:])["choices"]]
    return [text for choice in choices if (text := choice["delta"].get("content"))]


async def served_ttft(port: int) -> float:
    """Median milliseconds from a request to its first text, one request at a time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    request = request_of(1)
    seconds = []
    for _ in range(TTFT_REQUESTS):
        began = time.perf_counter()
        writer.write(request)
        await reader.readuntil(b'"content":" the"')
        seconds.append(time.perf_counter() - began)
        await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return 1e3 * median(seconds)


async def engine_ttft(llm: AsyncLLM, prompt: list[int]) -> float:
    """The same without a server, in this process."""
    params = SamplingParams(max_tokens=1)
    seconds = []
    for _ in range(TTFT_REQUESTS):
        began = time.perf_counter()
        async with aclosing(llm.generate(prompt, params)) as deltas:
            await anext(deltas)
        seconds.append(time.perf_counter() - began)
    return 1e3 * median(seconds)


@pytest.mark.benchmark(group="server")
def test_streamed_tokens_per_core(measure: Measure, model_path: Path) -> None:
    """Steps leave time to send every token as an event of its own: those behind are merged."""

    async def streams(port: int) -> list[list[str]]:
        jobs = [stream(port, TOKENS_A_STREAM) for _ in range(STREAMS)]
        return list(await asyncio.gather(*jobs))

    with null_server(model_path, step_seconds=STEP_SECONDS) as server:

        def run(_: int) -> Metrics:
            began = server.cpu_seconds()
            answers = asyncio.run(streams(server.port))
            cpu_seconds = server.cpu_seconds() - began
            assert ["".join(answer) for answer in answers] == [" the" * TOKENS_A_STREAM] * STREAMS
            tokens = STREAMS * TOKENS_A_STREAM
            assert sum(map(len, answers)) > 0.9 * tokens
            return {"completion_tokens": tokens, "tokens_per_cpu_sec": tokens / cpu_seconds}

        samples = measure(run, trace=False)
    assert all(rate is not None and rate >= 5000 for rate in samples["tokens_per_cpu_sec"])


@pytest.mark.benchmark(group="server")
def test_added_ttft(measure: Measure, model_path: Path) -> None:
    engine = null_engine(model_path, step_seconds=0.0)
    prompt = engine.tokenizer.encode("Say the.")
    llm = AsyncLLM(engine)
    llm.start()
    with null_server(model_path) as server, closing(llm):

        def run(_: int) -> Metrics:
            direct = asyncio.run(engine_ttft(llm, prompt))
            served = asyncio.run(served_ttft(server.port))
            return {"ttft_p50_ms": served, "added_ttft_p50_ms": served - direct}

        samples = measure(run, trace=False)
    assert min(value for value in samples["added_ttft_p50_ms"] if value is not None) <= 1.0
