"""Text of a sequence, whether its tokens come one by one or several at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate import EngineConfig, build_engine
from stagegate.core.request import Choice
from stagegate.core.sequence import Sequence, SequenceStatus
from stagegate.sampling import SamplingParams
from stagegate.text.detokenizer import Detokenizer
from stagegate.text.tokenizer import Tokenizer
from suites.engine.fake_executor import FakeExecutor, Script

TEXT = "one two three four five"


@pytest.fixture(scope="module")
def tokenizer(model_path: Path) -> Tokenizer:
    return Tokenizer.load(model_path)


def choice_of(tokenizer: Tokenizer, params: SamplingParams, *, eos: int = -1) -> Choice:
    sequence = Sequence(0, [1], params, eos_token_ids=(eos,), seed=0, max_tokens=100)
    return Choice(sequence, Detokenizer(tokenizer, skip_special_tokens=True), params)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_stop_string_drops_the_tokens_behind_it(tokenizer: Tokenizer, size: int) -> None:
    token_ids = tokenizer.encode(TEXT)
    choice = choice_of(tokenizer, SamplingParams(max_tokens=None, stop=("three",)))
    stop = None
    for begin in range(0, len(token_ids), size):
        new = token_ids[begin : begin + size]
        assert choice.sequence.append_tokens(new) == len(new)
        stop = choice.catch_up()
        if stop is not None:
            break
    assert stop == "three"
    assert choice.text == "one two "
    kept = choice.sequence.output_token_ids
    assert kept == token_ids[: len(kept)]
    assert tokenizer.decode(kept).endswith("three")
    assert "three" not in tokenizer.decode(kept[:-1])


def test_an_end_token_hides_itself_alone(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode(TEXT)
    choice = choice_of(tokenizer, SamplingParams(max_tokens=None), eos=token_ids[-1])
    added = choice.sequence.append_tokens([*token_ids, *token_ids])
    assert added == len(token_ids)
    assert choice.sequence.status is SequenceStatus.FINISHED_STOPPED
    assert choice.catch_up() is None
    choice.close()
    assert choice.text == tokenizer.decode(token_ids[:-1])


def test_min_tokens_counts_each_token(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode(TEXT)
    params = SamplingParams(max_tokens=None, min_tokens=len(token_ids), stop=("three",))
    choice = choice_of(tokenizer, params)
    choice.sequence.append_tokens(token_ids)
    assert choice.catch_up() is None
    assert choice.text == TEXT


@given(
    token_ids=st.lists(st.integers(0, 600), min_size=1, max_size=30),
    reads=st.lists(st.integers(1, 30), max_size=4),
    params=st.builds(
        SamplingParams,
        max_tokens=st.none(),
        min_tokens=st.integers(0, 5),
        stop=st.sampled_from([(), ("e",), ("th", " a ")]),
        include_stop_str_in_output=st.booleans(),
        skip_special_tokens=st.booleans(),
    ),
)
def test_the_text_is_the_same_whenever_it_is_made(
    tokenizer: Tokenizer, token_ids: list[int], reads: list[int], params: SamplingParams
) -> None:
    """A stop string aside: it has to be found when it comes, and then it is by every token."""
    each = choice_of(tokenizer, params, eos=token_ids[-1])
    late = choice_of(tokenizer, params, eos=token_ids[-1])
    assert each.is_followed == late.is_followed == bool(params.stop)
    for count, token_id in enumerate(token_ids, 1):
        for choice in (each, late):
            choice.sequence.append_token(token_id)
        stop = each.catch_up()
        if params.stop:
            assert late.catch_up() == stop
        elif count in reads:
            assert late.text == each.text
        if stop is not None or each.sequence.is_finished:
            break
    for choice in (each, late):
        choice.close()
    assert late.text == each.text
    if not params.stop:
        shown = token_ids[:count]
        if each.sequence.ended_by_token and not params.include_stop_str_in_output:
            del shown[-1]
        whole = tokenizer.decode(shown, skip_special_tokens=params.skip_special_tokens)
        assert each.text == whole


def test_text_is_made_at_once_unless_somebody_reads_along(
    model_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    push = Detokenizer.push

    def counted(self: Detokenizer, token_ids: list[int]) -> str:
        made.append(len(token_ids))
        return push(self, token_ids)

    monkeypatch.setattr(Detokenizer, "push", counted)
    config = EngineConfig(model_path, kv_capacity_tokens=4096)
    token_ids = tokenizer.encode(TEXT)
    engine = build_engine(config, executor=FakeExecutor(Script(token_ids)))
    params = SamplingParams(max_tokens=len(token_ids), ignore_eos=True)
    texts = []
    for follows in (False, True):
        made.clear()
        request = engine.make_request("Say:", params)
        if follows:
            request.follow()
        engine.submit(request)
        while engine.unfinished_requests:
            engine.step()
        assert made == ([1] * len(token_ids) if follows else [len(token_ids)])
        texts.append(request.output().outputs[0].text)
    assert texts == [tokenizer.decode(token_ids)] * 2
