"""Conversations and arrival times: reproducible by seed, with the requested lengths."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate.text.tokenizer import Tokenizer
from suites.online.load.arrival import ClosedLoop, OpenLoop
from suites.online.load.endpoints import Endpoint
from suites.online.load.errors import LoadError
from suites.online.load.lengths import Lengths
from suites.online.load.words import Words
from suites.online.load.workload import WorkloadSettings, draw_conversations


def drawn(text: str, count: int = 4000) -> list[int]:
    rng = np.random.default_rng(1)
    lengths = Lengths.parse(text)
    return [lengths.draw(rng) for _ in range(count)]


def test_fixed_and_uniform_lengths() -> None:
    assert set(drawn("17")) == {17}
    counts = Counter(drawn("uniform:3:6"))
    assert sorted(counts) == [3, 4, 5, 6]
    assert min(counts.values()) > 800  # of 1000 expected


def test_lognormal_lengths() -> None:
    lengths = drawn("lognormal:100:0.5:400")
    assert (min(lengths) >= 1, max(lengths)) == (True, 400)
    assert np.median(lengths) == pytest.approx(100, rel=0.05)
    assert np.std(np.log(lengths)) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "-3", "x", "1.5", "uniform:3", "uniform:6:3", "uniform:0:3", "lognormal:9:1"),
        *("lognormal:9:x:20", "lognormal:9:-1:20", "lognormal:9:inf:20", "lognormal:0:1:20", "a:1"),
    ],
)
def test_no_length(text: str) -> None:
    with pytest.raises(LoadError, match="length"):
        Lengths.parse(text)


def settings(**fields: object) -> WorkloadSettings:
    usual = {"requests": 12, "prompt_tokens": Lengths(5, 40), "output_tokens": Lengths(1, 9)}
    return WorkloadSettings(**(usual | fields))  # type: ignore[arg-type]


def test_words_of_a_checkpoint_are_single_tokens(model_path: Path) -> None:
    tokenizer = Tokenizer.load(model_path)
    text = Words.of_checkpoint(model_path).text(np.random.default_rng(0), 500)
    assert len(tokenizer.encode(text)) == 500


def test_a_prompt_has_the_wanted_length(model_path: Path) -> None:
    tokenizer, words = Tokenizer.load(model_path), Words.of_checkpoint(model_path)
    wanted = settings(prompt_tokens=Lengths.fixed(21), prefix_tokens=13)
    for conversation in draw_conversations(wanted, words):
        prompt = Endpoint.COMPLETIONS.prompt(conversation, [])["prompt"]
        assert len(tokenizer.encode(prompt)) == 34


def test_a_vocabulary_without_words() -> None:
    with pytest.raises(LoadError, match="no words"):
        Words([])


def test_a_seed_gives_the_same_and_another_another() -> None:
    words = Words.english()
    first = draw_conversations(settings(prefix_tokens=5), words)
    assert draw_conversations(settings(prefix_tokens=5), words) == first
    more = draw_conversations(settings(prefix_tokens=5, requests=20), words)
    assert more[:12] == first
    other = draw_conversations(settings(prefix_tokens=5, seed=(1,)), words)
    assert not {turn.text for c in first for turn in c.turns} & {
        turn.text for c in other for turn in c.turns
    }


def test_groups_share_their_prefix_and_nothing_else() -> None:
    conversations = draw_conversations(settings(prefix_tokens=30, prefix_groups=3), Words.english())
    assert Counter(Counter(c.prefix for c in conversations).values()) == {4: 3}
    assert all(len(c.prefix.split()) == 30 for c in conversations)
    assert len({c.turns[0].text for c in conversations}) == 12


def test_a_turn_carries_what_was_said() -> None:
    [conversation] = draw_conversations(
        settings(requests=3, turns=3, prefix_tokens=4), Words.english()
    )
    one, two, _ = (turn.text for turn in conversation.turns)
    assert Endpoint.CHAT.prompt(conversation, ["A"]) == {
        "messages": [
            {"role": "system", "content": conversation.prefix},
            {"role": "user", "content": one},
            {"role": "assistant", "content": "A"},
            {"role": "user", "content": two},
        ]
    }
    prompt = Endpoint.COMPLETIONS.prompt(conversation, [" A"])["prompt"]
    assert prompt == f"{conversation.prefix}{one} A{two}"
    assert prompt.startswith(Endpoint.COMPLETIONS.prompt(conversation, [])["prompt"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"requests": 0}, "requests must be 1 or more, got 0"),
        ({"turns": 0}, "turns must be"),
        ({"prefix_groups": 0}, "prefix_groups must be"),
        ({"prefix_tokens": -1}, "must not be negative"),
        ({"seed": (-1,)}, "must not be negative"),
        ({"requests": 10, "turns": 4}, "take 12 requests"),
    ],
)
def test_no_workload(fields: dict[str, object], message: str) -> None:
    with pytest.raises(LoadError, match=message):
        settings(**fields)


def test_a_poisson_process() -> None:
    gaps = np.diff(OpenLoop(rate=50).schedule(20_000, seed=3))
    # An exponential distribution: mean and standard deviation are both 1/rate.
    assert np.mean(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert np.std(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert np.mean(gaps > 1 / 50) == pytest.approx(math.exp(-1), rel=0.03)


@given(burst=st.integers(1, 9), count=st.integers(1, 60), seed=st.integers(0, 9))
def test_bursts(burst: int, count: int, seed: int) -> None:
    load = OpenLoop(rate=10, burst=burst)
    times = load.schedule(count, seed)
    assert times == load.schedule(count, seed)
    assert (times[0], len(times)) == (0.0, count)
    assert times == sorted(times)
    sizes = list(Counter(times).values())
    assert sizes[:-1] == [burst] * (len(sizes) - 1)
    assert sizes[-1] <= burst


def test_bursts_keep_the_rate() -> None:
    load = OpenLoop(rate=40, burst=8)
    assert load.rate_of(load.schedule(40_000, seed=0)) == pytest.approx(40, rel=0.05)
    assert load.rate_of([0.0, 0.0, 1.0, 1.0][:2]) is None
    assert OpenLoop(rate=1, burst=2).rate_of([0.0, 0.0, 0.5, 0.5, 1.0]) == 4.0


@pytest.mark.parametrize("rate", [0, -1, math.inf, math.nan])
def test_no_rate(rate: float) -> None:
    with pytest.raises(LoadError, match="rate must be"):
        OpenLoop(rate)


def test_no_burst_and_no_concurrency() -> None:
    with pytest.raises(LoadError, match="burst must be"):
        OpenLoop(1.0, 0)
    with pytest.raises(LoadError, match="concurrency must be"):
        ClosedLoop(0)
