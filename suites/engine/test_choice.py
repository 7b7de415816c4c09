"""Text of a sequence that gains several tokens at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagegate.core.request import Choice
from stagegate.core.sequence import Sequence, SequenceStatus
from stagegate.sampling import SamplingParams
from stagegate.text.detokenizer import Detokenizer
from stagegate.text.tokenizer import Tokenizer

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
