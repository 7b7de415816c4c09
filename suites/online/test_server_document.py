"""The OpenAPI document and the server agree; schemathesis generates the requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from suites.online.conftest import MakeLLM
from suites.online.live_server import LiveServer, live_server

if TYPE_CHECKING:
    from schemathesis import Case

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.checks")

CHECKS = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
)


@pytest.fixture(scope="module")
def server(make_llm: MakeLLM) -> Iterator[LiveServer]:
    """Short sequences: many requests run as long as they may, with many answers each."""
    with live_server(make_llm(max_model_len=64)) as running:
        yield running


@pytest.mark.tiny_model  # hundreds of requests, each of which a large model may answer for minutes
@pytest.mark.criterion("s0.online", "s4.online")
@pytest.mark.parametrize(
    "mode", list(schemathesis.GenerationMode), ids=lambda mode: str(mode.value)
)
def test_requests_made_from_the_document(server: LiveServer, api: httpx.Client, mode: Any) -> None:
    """Valid requests, and requests that violate the document in one place."""
    document = api.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode is schemathesis.GenerationMode.NEGATIVE and not operation.body:
            continue  # any text is a legal name in a path

        @settings(
            max_examples=25,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def call(case: Case[Any]) -> None:
            case.call_and_validate(base_url=server.url, checks=list(CHECKS))

        call()
