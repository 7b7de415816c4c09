"""Text, tokens and log-probabilities of a model that writes in many scripts."""

from __future__ import annotations

import codecs
from dataclasses import replace
from pathlib import Path

import pytest

from stagegate import LLM, SamplingParams
from suites.models.multilingual import TEXTS

WILD = SamplingParams(temperature=1.5, max_tokens=48, ignore_eos=True, seed=3)


@pytest.fixture(scope="module")
def model_path(multilingual_model: Path) -> Path:
    """The checkpoint that the engine of these tests has."""
    return multilingual_model


@pytest.mark.parametrize("skip", [True, False])
def test_text_is_what_the_tokens_decode_to(llm: LLM, skip: bool) -> None:
    params = replace(WILD, n=2, skip_special_tokens=skip)
    for output in llm.generate(list(TEXTS), params):
        for choice in output.outputs:
            assert choice.text == llm.engine.tokenizer.decode(
                choice.token_ids, skip_special_tokens=skip
            )
            assert not choice.text.isascii()


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_stream_grows_by_whole_characters(llm: LLM, text: str) -> None:
    seen = ""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    tokenizer = llm.engine.tokenizer
    for state in llm.stream(text, WILD):
        [choice] = state.outputs
        assert choice.text.startswith(seen)
        last = choice.token_ids[-1]
        seen += "" if tokenizer.is_special(last) else decoder.decode(tokenizer.token_bytes(last))
        if not state.finished:
            assert choice.text == seen
    assert choice.text == seen + decoder.decode(b"", final=True)


@pytest.mark.parametrize("seed", range(3))
def test_a_stop_string_is_not_in_the_text(llm: LLM, seed: int) -> None:
    params = replace(WILD, seed=seed)
    [whole] = llm.generate("说", params)
    text = whole.outputs[0].text
    for begin in range(0, len(text) - 2, 3):
        stop = text[begin : begin + 1 + begin % 2]
        if "\ufffd" in stop:
            continue  # a broken character, which is known late
        [output] = llm.generate("说", replace(params, stop=["∞∞", stop]))
        [choice] = output.outputs
        assert choice.text == text[: text.find(stop)]
        assert (choice.finish_reason, choice.stop_reason) == ("stop", stop)


def test_logprobs_of_a_prompt_are_those_of_writing_it(llm: LLM) -> None:
    """Each token of a text, forced by its bias, is as likely as when the text is a prompt."""
    token_ids = llm.engine.tokenizer.encode(TEXTS[1])
    with_prompt_logprobs = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=3)
    [whole] = llm.generate(token_ids, with_prompt_logprobs)
    assert whole.prompt_logprobs is not None
    for at, entry in enumerate(whole.prompt_logprobs[1:], start=1):
        forced = SamplingParams(
            temperature=0, max_tokens=1, logprobs=3, logit_bias={token_ids[at]: 100.0}
        )
        [output] = llm.generate(token_ids[:at], forced)
        [alone] = output.outputs[0].logprobs or []
        assert entry is not None
        assert entry.token_id == alone.token_id == token_ids[at]
        assert entry.logprob == pytest.approx(alone.logprob, abs=1e-3)
        assert [i for i, _ in entry.top] == [i for i, _ in alone.top]


def test_a_chat_takes_any_script(llm: LLM) -> None:
    for text in TEXTS:
        [output] = llm.chat([{"role": "user", "content": text}], replace(WILD, max_tokens=4))
        prompt = llm.engine.tokenizer.decode(output.prompt_token_ids, skip_special_tokens=False)
        assert f"<|im_start|>user\n{text}<|im_end|>\n" in prompt
