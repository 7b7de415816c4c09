"""Parts of streaming: merging, lifetimes, events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any, cast

import pytest

from stagegate.async_llm import AsyncLLM
from stagegate.errors import OutOfMemoryError, QueueFullError
from stagegate.outputs import RequestDelta
from stagegate.server.http.errors import RequestTimeoutError, TooManyRequestsError, api_error
from stagegate.server.http.lifetime import (
    ClientDisconnectedError,
    OpenRequests,
    time_limit,
    while_connected,
)
from stagegate.server.http.limits import ClientLimit
from stagegate.server.openai.merging import merged
from stagegate.server.openai.streaming import EventStream, error_event, to_json
from suites.models.multilingual import TEXTS, WORDS


class Source:
    """Streams that record whether they were closed; a delta is a number here."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    async def stream(
        self, name: str, count: int, error: Exception | None = None
    ) -> AsyncGenerator[RequestDelta, None]:
        try:
            for number in range(count):
                await asyncio.sleep(0)
                yield cast("RequestDelta", f"{name}{number}")
            if error is not None:
                raise error
        finally:
            self.closed.append(name)


async def collected(streams: list[AsyncGenerator[RequestDelta, None]]) -> list[tuple[int, object]]:
    async with aclosing(merged(streams)) as deltas:
        return [item async for item in deltas]


@pytest.mark.parametrize("count", [1, 3])
def test_merging_keeps_every_delta_in_its_streams_order(count: int) -> None:
    source = Source()
    items = asyncio.run(collected([source.stream(f"s{i}-", 5 + i) for i in range(count)]))
    for index in range(count):
        mine = [delta for number, delta in items if number == index]
        assert mine == [f"s{index}-{number}" for number in range(5 + index)]


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_of_one_stream_ends_and_closes_all(count: int) -> None:
    source = Source()
    streams = [source.stream(f"s{i}", 1000) for i in range(count - 1)]
    with pytest.raises(QueueFullError):
        asyncio.run(collected([*streams, source.stream("last", 2, QueueFullError("full"))]))
    assert len(source.closed) == count


@pytest.mark.parametrize("count", [1, 3])
def test_leaving_early_closes_all(count: int) -> None:
    source = Source()

    async def leave() -> None:
        async with aclosing(merged([source.stream(f"s{i}", 1000) for i in range(count)])) as all_:
            async for _ in all_:
                break
        assert len(source.closed) == count  # at once, not when memory is collected

    asyncio.run(leave())


def test_a_time_limit_is_not_mistaken_for_another() -> None:
    async def late() -> None:
        async with time_limit(0.01):
            await asyncio.sleep(5)

    async def other() -> None:
        async with time_limit(5):
            raise TimeoutError

    with pytest.raises(RequestTimeoutError, match=r"longer than 0\.01 s"):
        asyncio.run(late())
    with pytest.raises(TimeoutError):
        asyncio.run(other())


def test_only_a_disconnect_is_one() -> None:
    messages = [{"type": "http.request"}, {"type": "http.disconnect"}]

    async def gone() -> MutableMapping[str, Any]:
        await asyncio.sleep(0)
        return messages.pop(0)

    async def there() -> MutableMapping[str, Any]:
        await asyncio.sleep(5)
        return {"type": "http.disconnect"}

    async def served(receive: Any) -> None:
        async with while_connected(receive):
            await asyncio.sleep(1)

    async def cancelled() -> None:
        task = asyncio.create_task(served(there))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(ClientDisconnectedError):
        asyncio.run(served(gone))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())


def test_a_client_limit_counts_down_whatever_happens() -> None:
    limit = ClientLimit(1)

    def fail() -> None:
        with limit.slot("one"), limit.slot("other"):
            with pytest.raises(TooManyRequestsError):
                limit.slot("one").__enter__()
            raise OutOfMemoryError

    for _ in range(3):
        with pytest.raises(OutOfMemoryError):
            fail()


class Recording:
    def __init__(self) -> None:
        self.aborted: list[str] = []

    async def abort(self, request_id: str) -> bool:
        self.aborted.append(request_id)
        return True


def test_requests_are_cancelled_by_all_their_names() -> None:
    recording = Recording()
    llm = cast("AsyncLLM", recording)
    requests = OpenRequests()
    with requests.entry([(None, "answer"), ("client", "own")], [(llm, "a"), (llm, "b")]):
        with requests.entry([(None, "answer 2"), ("client", "own")], [(llm, "c")]):
            assert asyncio.run(requests.cancel((None, "answer")))
            assert asyncio.run(requests.cancel(("client", "own")))
            assert not asyncio.run(requests.cancel(("other", "own")))
            assert not asyncio.run(requests.cancel((None, "own")))
        assert asyncio.run(requests.cancel(("client", "own")))
    assert recording.aborted == [*"ab", *"abc", *"ab"]
    assert not asyncio.run(requests.cancel((None, "answer")))


def sent_by(write: Callable[[EventStream], Awaitable[None]]) -> list[MutableMapping[str, Any]]:
    """The messages of an event stream that is written to."""
    messages: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    async def written() -> None:
        await write(EventStream(send, []))

    asyncio.run(written())
    return messages


LONE_SURROGATE = "\ud83d"


@pytest.mark.parametrize(
    "text",
    [*WORDS, *TEXTS, "\n\r", '"你\\好"', "\x00\x1f\x7f\x80", LONE_SURROGATE, ""],
    ids=ascii,
)
def test_an_event_is_one_line_of_ascii_however_it_is_written(text: str) -> None:
    for written in (to_json(text), json.dumps(text, ensure_ascii=False)):

        async def write(stream: EventStream, events: str = f"data: {written}\n\n") -> None:
            await stream.close(events)

        _, message, _ = sent_by(write)
        [line, empty] = message["body"].decode("ascii").split("\n\n")
        assert empty == ""
        assert len(line.splitlines()) == 1
        assert json.loads(line.removeprefix("data: ")) == text


def test_an_error_after_the_beginning_is_an_event() -> None:
    async def failing(stream: EventStream) -> None:
        await stream.write("data: {}\n\n")
        await stream.close(error_event(api_error(OutOfMemoryError("no memory"))))

    sent = sent_by(failing)
    assert sent[0]["status"] == 200
    assert [message.get("more_body") for message in sent] == [None, True, True, False]
    body = sent[2]["body"].decode()
    assert json.loads(body.removeprefix("data: "))["error"]["message"] == "no memory"
