"""The command: what it prints, writes and refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from suites.online.load.command import main
from suites.online.scripted_stream_server import Script, ScriptedStreams, scripted_streams


@pytest.fixture
def streams() -> Iterator[ScriptedStreams]:
    with scripted_streams() as running:
        yield running


def test_an_open_loop(
    streams: ScriptedStreams,
    model_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STAGEGATE_API_KEY", "secret")
    streams.script = lambda number, body: Script(tokens=3, status=429 if number == 2 else 200)
    file = tmp_path / "load.json"
    arguments = ["--url", streams.url, "--model", "m", "--requests", "8"]
    arguments += ["--rate", "200", "--burst", "2", "--shared-prefix", "12:2", "--slo", "e2e=60000"]
    arguments += ["--prompt-tokens", "uniform:4:9", "--output-tokens", "lognormal:5:0.3:9"]
    arguments += ["--tokenizer", str(model_path), "--body", '{"temperature": 0}']
    status = main([*arguments, "--endpoint", "completions", "--json", str(file)])
    printed = capsys.readouterr().out
    assert status == 0
    assert "7 of 8 completed, 1 failed" in printed
    assert "7 of 8 met the objective" in printed
    assert "429: 1, such as: 429: refused" in printed
    written = json.loads(file.read_text())
    assert written["report"]["ttft_ms"]["count"] == 7
    assert written["report"]["completion_tokens"] == 21
    assert len(written["requests"]) == 8
    assert written["requests"][0]["token_times"]
    assert streams.headers[0]["Authorization"] == "Bearer secret"
    assert "secret" not in file.read_text() + printed
    prompts = [body["prompt"].split() for body in streams.bodies]
    assert len({tuple(prompt[:12]) for prompt in prompts}) == 2
    assert {body["temperature"] for body in streams.bodies} == {0}


def test_a_seed_repeats_the_requests(streams: ScriptedStreams) -> None:
    arguments = ["--url", streams.url, "--model", "m", "--concurrency", "1", "--requests", "4"]
    arguments += ["--prompt-tokens", "uniform:4:90", "--seed"]
    for seed in ("7", "7", "8"):
        assert main([*arguments, seed]) == 0
    assert streams.bodies[:4] == streams.bodies[4:8]
    assert streams.bodies[:4] != streams.bodies[8:]


def test_no_request_completed(streams: ScriptedStreams, capsys: pytest.CaptureFixture[str]) -> None:
    streams.script = lambda number, body: Script(status=401)
    arguments = ["--url", streams.url, "--model", "m", "--concurrency", "2", "--requests", "3"]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert "4xx: 3, such as: 401: refused" in captured.out
    assert "no request completed" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--concurrency --rate is required"),
        ("--rate 1 --concurrency 1", "not allowed with"),
        ("--concurrency 0", "concurrency must be 1 or more, got 0"),
        ("--concurrency 1 --burst 2", "--burst goes with --rate"),
        ("--rate 0", "rate must be a positive number"),
        ("--rate 1 --burst 0", "burst must be 1 or more, got 0"),
        ("--rate 1 --requests 0", "requests must be 1 or more, got 0"),
        ("--rate 1 --turns 3", "take 6 requests"),
        ("--rate 1 --prompt-tokens many", "'many' is no length; wanted: TOKENS"),
        ("--rate 1 --shared-prefix 5:x", "'5:x' is no TOKENS[:GROUPS]"),
        ("--rate 1 --slo fast", "'fast' is no NAME=MILLISECONDS"),
        ("--rate 1 --body []", "'[]' is no JSON object"),
        ("--rate 1 --url x", "'x' is no address"),
        ("--rate 1 --timeout 0", "timeout must be positive"),
        ("--rate 1 --tokenizer /nowhere", "/nowhere/tokenizer.json: no such file"),
        ("--rate 1 --json /nowhere/x.json", "no folder /nowhere"),
        ("--rate 1 --endpoint embeddings", "invalid"),
    ],
)
def test_wrong_usage(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    usual = ["--url", "http://127.0.0.1:1", "--model", "m", "--requests", "4"]
    with pytest.raises(SystemExit) as raised:
        main([*usual, *arguments.split()])
    assert raised.value.code == 2
    assert message in capsys.readouterr().err
