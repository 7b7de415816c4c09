"""Events of /v1/responses, checked against the types of OpenAI's client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import httpx
from openai.types.responses import Response, ResponseOutputItem, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
# What OpenAI sends beside the fields its client knows.
_BEYOND_THE_CLIENT = {"store", "bytes", "error", "name"}


def response_events(response: httpx.Response) -> list[Any]:
    """Every event of a stream, checked to have exactly the fields of its type in the client."""
    written = response.read().decode("ascii").split("\n\n")
    assert response.status_code == 200, written
    assert response.headers["content-type"].startswith("text/event-stream")
    assert written.pop() == ""
    events = []
    for number, text in enumerate(written):
        named, data = text.split("\n")
        assert data.startswith("data: ")
        fields = json.loads(data.removeprefix("data: "))
        assert named == f"event: {fields['type']}"
        assert fields["sequence_number"] == number
        event = _EVENT.validate_python(fields, strict=True)
        assert set(_unknown(event)) <= _BEYOND_THE_CLIENT
        events.append(event)
    return events


def checked_response(body: Any) -> Response:
    """The body of a response, checked in the same way."""
    response = Response.model_validate(body, strict=True)
    assert set(_unknown(response)) <= _BEYOND_THE_CLIENT
    return response


def last_response(events: list[Any]) -> Response:
    return cast("Response", events[-1].response)


def check_growth(events: list[Any]) -> None:
    """Check that the items of the last event equal those assembled from the earlier events."""
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    final = last_response(events)
    assert {event.response.id for event in (events[0], events[1], events[-1])} == {final.id}
    assert events[0].response.output == []
    done: list[ResponseOutputItem] = []
    texts: dict[str, str] = {}
    open_item: str | None = None
    for event in events[2:-1]:
        if event.type == "response.output_item.added":
            assert open_item is None, "one item at a time"
            assert event.output_index == len(done)
            assert event.item.status == "in_progress"
            open_item = event.item.id
            texts[open_item] = ""
        elif event.type == "response.output_item.done":
            assert event.item.id == open_item
            assert event.output_index == len(done)
            done.append(event.item)
            open_item = None
        else:
            assert (event.item_id, event.output_index) == (open_item, len(done))
            if event.type.endswith(".delta"):
                texts[event.item_id] += event.delta
            elif event.type == "response.function_call_arguments.done":
                assert event.arguments == texts[event.item_id]
            elif event.type.endswith("text.done"):
                assert event.text == texts[event.item_id]
    assert open_item is None
    assert [item.model_dump() for item in done] == [item.model_dump() for item in final.output]
    for item in final.output:
        assert texts[cast("str", item.id)] == item_text(item)


def item_text(item: Any) -> str:
    if item.type == "function_call":
        return cast("str", item.arguments)
    return "".join(part.text for part in item.content)


def _unknown(model: BaseModel) -> Iterator[str]:
    """Fields that the client's type of a model, or of one within it, does not have."""
    yield from model.model_extra or ()
    for name in type(model).model_fields:
        value = getattr(model, name)
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, BaseModel):
                yield from _unknown(inner)
