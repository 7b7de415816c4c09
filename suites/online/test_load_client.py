"""The client against streams whose times and faults are scripted."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from suites.online.load.arrival import ClosedLoop, OpenLoop
from suites.online.load.client import Target
from suites.online.load.endpoints import Endpoint
from suites.online.load.errors import LoadError
from suites.online.load.event_splitter import EventSplitter
from suites.online.load.lengths import Lengths
from suites.online.load.load_run import LoadRun, run_load, send_load
from suites.online.load.report import report_of
from suites.online.load.request_result import Failure, RequestResult
from suites.online.load.words import Words
from suites.online.load.workload import Conversation, WorkloadSettings, draw_conversations
from suites.online.scripted_stream_server import Script, ScriptedStreams, scripted_streams


@pytest.fixture
def streams() -> Iterator[ScriptedStreams]:
    with scripted_streams() as running:
        yield running


def conversations(requests: int, turns: int = 1) -> list[Conversation]:
    lengths = Lengths.fixed(3)
    return draw_conversations(
        WorkloadSettings(requests, lengths, lengths, turns=turns), Words.english()
    )


def one(streams: ScriptedStreams, script: Script, **fields: object) -> RequestResult:
    streams.script = lambda number, body: script
    target = Target(streams.url, "m", **fields)  # type: ignore[arg-type]
    [result] = run_load(target, conversations(1), ClosedLoop(1)).results
    return result


def load(streams: ScriptedStreams, arrival: ClosedLoop | OpenLoop, requests: int) -> LoadRun:
    return run_load(Target(streams.url, "m"), conversations(requests), arrival)


@pytest.mark.parametrize("endpoint", Endpoint)
def test_times_and_tokens(streams: ScriptedStreams, endpoint: Endpoint) -> None:
    result = one(streams, Script(tokens=4, first_s=0.05, gap_s=0.02), endpoint=endpoint)
    assert result.failure is None, result.message
    assert (result.text, result.finish_reason) == (" 0.0 0.1 0.2 0.3", "length")
    assert (result.prompt_tokens, result.completion_tokens, result.cached_tokens) == (7, 4, 3)
    assert len(result.token_times) == 4
    assert result.ttft_ms is not None
    assert result.ttft_ms >= 50  # a timer may be late, never early
    assert result.tpot_ms is not None
    assert result.tpot_ms >= 19  # the first may have been seen late, which shortens what follows
    assert result.e2e_ms >= 110
    assert result.intended <= result.started <= result.token_times[0] <= result.ended


def test_the_first_token_is_seen_when_it_comes(streams: ScriptedStreams) -> None:
    """Measured by the server's clock, the delay of the client is small on any machine."""
    streams.script = lambda number, body: Script(first_s=0.01 * number)
    run = load(streams, ClosedLoop(1), 10)
    for result, waited in zip(run.results, streams.waits, strict=True):
        assert result.ttft_ms is not None
        assert 10 * result.conversation <= 1e3 * waited <= result.ttft_ms < 1e3 * waited + 500


def test_what_is_asked(streams: ScriptedStreams) -> None:
    fields = {"temperature": 0, "max_tokens": 9}
    one(streams, Script(), api_key="secret", fields=fields)
    [body] = streams.bodies
    assert body["model"] == "m"
    assert (body["temperature"], body["max_tokens"]) == (0, 9)  # what the caller says rules
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert streams.headers[0]["Authorization"] == "Bearer secret"
    assert "secret" not in repr(Target("http://x", "m", api_key="secret"))


def test_no_usage_counts_chunks(streams: ScriptedStreams) -> None:
    result = one(streams, Script(tokens=3, usage=False))
    assert (result.failure, result.completion_tokens, result.output_tokens) == (None, None, 3)


def test_turns_carry_the_answers(streams: ScriptedStreams) -> None:
    streams.script = lambda number, body: Script(tokens=2, first_s=0.02)
    run = run_load(Target(streams.url, "m"), conversations(6, turns=3), OpenLoop(50))
    assert report_of(run).completed == 6
    asked = [body["messages"] for body in streams.bodies]
    assert sorted(map(len, asked)) == [1, 1, 3, 3, 5, 5]
    for messages in asked:
        if len(messages) > 1:
            *history, answer, _ = messages
            number = asked.index(history)
            assert answer == {"role": "assistant", "content": f" {number}.0 {number}.1"}
    for before, after in pairwise(run.results):
        if after.turn:
            assert after.intended == before.ended


def test_a_failed_turn_ends_its_conversation(streams: ScriptedStreams) -> None:
    streams.script = lambda number, body: Script(status=500 if number == 1 else 200)
    run = run_load(Target(streams.url, "m"), conversations(6, turns=3), ClosedLoop(1))
    report = report_of(run)
    assert (report.completed, report.failures, report.not_sent) == (4, {"5xx": 1}, 1)


CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'


@pytest.mark.parametrize(
    ("script", "failure", "message"),
    [
        (Script(status=429), Failure.RATE_LIMITED, "429: refused with 429"),
        (Script(status=400), Failure.CLIENT_ERROR, "400: refused"),
        (Script(status=404), Failure.CLIENT_ERROR, "404: refused"),
        (Script(status=503), Failure.SERVER_ERROR, "503: refused"),
        (Script(status=302), Failure.BROKEN_STREAM, "status 302"),
        (Script(silent=True), Failure.TIMEOUT, "not done within 0.3 s"),
        (Script(tokens=9, gap_s=0.1), Failure.TIMEOUT, "not done within"),
        (Script(cut_after=-1), Failure.CONNECTION, ""),
        (Script(tokens=9, gap_s=0.01, cut_after=3), Failure.BROKEN_STREAM, ""),
        (Script(content_type="application/json"), Failure.BROKEN_STREAM, "application/json"),
        (Script(events=(CHUNK,)), Failure.BROKEN_STREAM, r"without \[DONE\]"),
        (Script(events=()), Failure.BROKEN_STREAM, r"without \[DONE\]"),
        (Script(events=(b"data: {\n\n",)), Failure.BROKEN_STREAM, "not a chunk"),
        (Script(events=(b"data: 3\n\n",)), Failure.BROKEN_STREAM, "not a chunk"),
        (Script(events=(b"data: \xff\n\n",)), Failure.BROKEN_STREAM, "not a chunk"),
        (Script(events=(b'data: {"choices": 1}\n\n',)), Failure.BROKEN_STREAM, "not a chunk"),
        (
            Script(events=(CHUNK, b'data: {"error": {"message": "core died"}}\n\n')),
            Failure.BROKEN_STREAM,
            "core died",
        ),
    ],
)
def test_failures_by_kind(
    streams: ScriptedStreams, script: Script, failure: Failure, message: str
) -> None:
    result = one(streams, script, timeout_s=0.3)
    assert result.failure is failure
    assert message.replace("\\", "") in result.message
    assert result.ended >= result.started


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    run = run_load(Target(f"http://127.0.0.1:{port}", "m"), conversations(3), OpenLoop(100))
    assert report_of(run).failures == {"connection": 3}


def test_bytes_in_any_pieces(streams: ScriptedStreams) -> None:
    stream = (
        b': comment\r\n\r\nevent: x\r\ndata: {"choices":\r\ndata:[{"index":0,"delta":'
        + b'{"content":"\xf0\x9f\x90\xb1"}}]}\r\n\r\n'
        + CHUNK
        + b"data: [DONE]\n\n"
    )
    for size in (1, 2, 3, 7, len(stream)):
        splitter = EventSplitter()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        events = [event for piece in pieces for event in splitter.push(piece)]
        assert events[-1] == b"[DONE]"
        assert len(events) == 3
    cut = stream.index(b"\x9f")
    result = one(streams, Script(events=(stream[:cut], stream[cut:])))
    assert (result.failure, result.text, len(result.token_times)) == (None, "🐱x", 2)


def test_a_stall_shows_in_an_open_loop(streams: ScriptedStreams) -> None:
    """Once, for a second, the server answers nobody. A closed loop waits with it and sees one slow
    request; an open loop sees everybody who came meanwhile."""
    streams.script = lambda number, body: Script(stall_s=1.0 if number == 10 else 0.0)
    closed = report_of(load(streams, ClosedLoop(1), 100))
    streams.bodies.clear()
    run = load(streams, OpenLoop(100), 100)
    report = report_of(run)
    assert (closed.completed, report.completed) == (100, 100)
    assert closed.ttft_ms.p90 is not None
    assert closed.ttft_ms.p90 < 500
    assert report.ttft_ms.p99 is not None
    assert report.ttft_ms.p99 > 900
    stalled_at = run.results[10].started
    for result in run.results[10:]:
        assert result.ttft_ms is not None
        assert result.ttft_ms >= 1e3 * (stalled_at + 1 - result.intended) - 1


def test_a_stalled_client_shows_too(streams: ScriptedStreams) -> None:
    async def held_up() -> LoadRun:
        asyncio.get_running_loop().call_later(0.1, time.sleep, 0.5)
        return await send_load(Target(streams.url, "m"), conversations(40), OpenLoop(100))

    run = asyncio.run(held_up())
    report = report_of(run)
    # Due in the half second, sent after it: the answer came at once, and still took that long.
    assert report.sent_late_ms.p90 is not None
    assert report.sent_late_ms.p90 > 200
    assert report.ttft_ms.p90 is not None
    assert report.ttft_ms.p90 > 200
    assert report.intended_rate is not None
    assert [result.intended for result in run.results] == OpenLoop(100).schedule(40, 0)


def test_a_closed_loop_keeps_its_concurrency(streams: ScriptedStreams) -> None:
    streams.script = lambda number, body: Script(first_s=0.02)
    results = load(streams, ClosedLoop(4), 20).results
    for result in results:
        at = result.started
        assert sum(other.started <= at < other.ended for other in results) <= 4
    assert [sum(r.intended < 0.02 for r in results)] == [4]


def test_an_open_loop_does_not_wait_for_answers(streams: ScriptedStreams) -> None:
    """No answer begins before the last request arrives, so a waiting client would never finish."""
    streams.script = lambda number, body: Script(after_requests=150)
    target = Target(streams.url, "m", timeout_s=20)
    results = run_load(target, conversations(150), OpenLoop(rate=1000, burst=50)).results
    assert [result.failure for result in results] == [None] * 150


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://x", "http://"])
def test_no_address(url: str) -> None:
    with pytest.raises(LoadError, match="is no address"):
        Target(url, "m")


def test_addresses() -> None:
    assert Target("http://x:1/", "m").address == "http://x:1/v1/chat/completions"
    completions = Target("https://x/base/v1", "m", Endpoint.COMPLETIONS)
    assert completions.address == "https://x/base/v1/completions"
    with pytest.raises(LoadError, match="timeout"):
        Target("http://x", "m", timeout_s=0)
