"""LLM.generate, chat and stream, called as users call them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from stagegate import LLM, SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
OPENINGS = ["Alice was", "Down the", "The Queen", "The Mock Turtle sighed deeply", "I am"]


def text_of(llm: LLM, prompt: str | list[int], params: SamplingParams) -> str:
    [output] = llm.generate(prompt, params)
    return output.outputs[0].text


def test_text_and_token_ids_are_the_same_prompt(llm: LLM) -> None:
    [from_text] = llm.generate("Alice was", GREEDY)
    [from_ids] = llm.generate(llm.engine.tokenizer.encode("Alice was"), GREEDY)
    assert from_text.prompt == "Alice was"
    assert from_ids.prompt is None
    assert from_text.prompt_token_ids == from_ids.prompt_token_ids
    assert from_text.outputs[0].text == from_ids.outputs[0].text


@pytest.mark.tiny_model
def test_the_book_is_known_by_heart(llm: LLM) -> None:
    assert "very tired of sitting" in text_of(llm, "Alice was", GREEDY)
    questions = ["Who wrote this book?", "Tell me about the Caterpillar."]
    outputs = llm.chat(
        [[{"role": "user", "content": question}] for question in questions],
        SamplingParams(temperature=0, max_tokens=None),
    )
    for output, word in zip(outputs, ("Carroll", "Caterpillar"), strict=True):
        completion = output.outputs[0]
        assert (completion.finish_reason, completion.stop_reason) == ("stop", None)
        assert completion.token_ids[-1] in llm.engine.inputs.eos_token_ids
        assert word in completion.text


def test_many_prompts_come_back_in_order_and_equal_to_one_at_a_time(llm: LLM) -> None:
    params = [replace(GREEDY, max_tokens=length) for length in (24, 3, 17, 1, 9)]
    together = llm.generate(OPENINGS, params)
    assert [output.prompt for output in together] == OPENINGS
    for output, opening, chosen in zip(together, OPENINGS, params, strict=True):
        assert output.outputs[0].text == text_of(llm, opening, chosen)
        assert len(output.outputs[0].token_ids) == chosen.max_tokens


def test_no_prompts_give_no_outputs(llm: LLM) -> None:
    assert llm.generate([], GREEDY) == []


def test_outputs_count_and_time_what_happened(llm: LLM) -> None:
    [output] = llm.generate("Alice was", replace(GREEDY, max_tokens=7))
    assert output.finished
    assert output.outputs[0].finish_reason == "length"
    assert output.usage.prompt_tokens == len(output.prompt_token_ids)
    assert output.usage.completion_tokens == 7
    assert output.usage.total_tokens == output.usage.prompt_tokens + 7
    timings = output.timings
    assert timings.ttft_ms is not None
    assert timings.tpot_ms is not None
    assert timings.e2e_ms is not None
    assert 0 < timings.ttft_ms < timings.e2e_ms
    assert timings.e2e_ms == pytest.approx(timings.ttft_ms + 6 * timings.tpot_ms)


def test_run_metrics_add_up(llm: LLM) -> None:
    outputs = llm.generate(OPENINGS, replace(GREEDY, max_tokens=5))
    run = llm.last_run
    assert run is not None
    assert run.requests == len(OPENINGS)
    assert run.completion_tokens == 5 * len(OPENINGS)
    assert run.prompt_tokens == sum(len(output.prompt_token_ids) for output in outputs)
    assert run.tokens_per_sec == pytest.approx(run.completion_tokens / run.seconds)
    assert 0 < run.avg_ttft_ms < run.avg_req_latency_ms <= 1e3 * run.seconds


QUESTION = [{"role": "user", "content": "Who wrote this book?"}]


def ending(llm: LLM, **fields: Any) -> tuple[int, SamplingParams]:
    """An end token, and parameters that make the model generate it as early as possible."""
    eos = llm.engine.inputs.eos_token_ids[-1]
    return eos, SamplingParams(temperature=0, logit_bias={eos: 100.0}, **fields)


def test_an_end_token_ends_without_its_text(llm: LLM) -> None:
    eos, params = ending(llm, max_tokens=None, min_tokens=5)
    [output] = llm.chat(QUESTION, params)
    completion = output.outputs[0]
    assert completion.finish_reason == "stop"
    assert completion.stop_reason is None
    assert completion.token_ids[-1] == eos
    assert completion.text == llm.engine.tokenizer.decode(completion.token_ids[:-1])


def test_ignore_eos_goes_on(llm: LLM) -> None:
    eos, params = ending(llm, max_tokens=8)
    [ended] = llm.chat(QUESTION, params)
    assert ended.outputs[0].token_ids == [eos]
    [went_on] = llm.chat(QUESTION, replace(params, ignore_eos=True))
    assert went_on.outputs[0].token_ids == [eos] * 8
    assert went_on.outputs[0].finish_reason == "length"


def test_min_tokens_holds_the_end_back(llm: LLM) -> None:
    eos, params = ending(llm, max_tokens=40)
    [longer] = llm.chat(QUESTION, replace(params, min_tokens=9))
    assert len(longer.outputs[0].token_ids) == 10
    assert longer.outputs[0].token_ids[9] == eos
    assert not set(llm.engine.inputs.eos_token_ids) & set(longer.outputs[0].token_ids[:9])


# Where in the text of the model the stop string is, as shares of its length.
@pytest.mark.parametrize(("first", "last"), [(0.2, 0.5), (0.3, 0.35), (0.1, 0.4), (0.5, 0.5)])
def test_stop_string_cuts_the_text_exactly(llm: LLM, first: float, last: float) -> None:
    whole = text_of(llm, "Alice was", GREEDY)
    stop = whole[int(first * len(whole)) : int(last * len(whole)) + 1]
    [output] = llm.generate("Alice was", replace(GREEDY, stop=(stop,)))
    completion = output.outputs[0]
    assert completion.text == whole[: whole.index(stop)]
    assert (completion.finish_reason, completion.stop_reason) == ("stop", stop)
    [kept] = llm.generate(
        "Alice was", replace(GREEDY, stop=(stop,), include_stop_str_in_output=True)
    )
    assert kept.outputs[0].text == whole[: whole.index(stop) + len(stop)]


def test_held_back_text_comes_out_at_the_end(llm: LLM) -> None:
    whole = text_of(llm, "Alice was", GREEDY)
    stop = whole[-6:] + "never"
    assert text_of(llm, "Alice was", replace(GREEDY, stop=(stop,))) == whole


def test_stop_token_ends_without_its_text(llm: LLM) -> None:
    [whole] = llm.generate("Alice was", GREEDY)
    ids = whole.outputs[0].token_ids
    last = max(i for i in range(len(ids)) if ids[i] not in ids[:i])
    [output] = llm.generate("Alice was", replace(GREEDY, stop_token_ids=(ids[last],)))
    completion = output.outputs[0]
    assert completion.token_ids == ids[: last + 1]
    assert completion.text == llm.engine.tokenizer.decode(ids[:last])
    assert (completion.finish_reason, completion.stop_reason) == ("stop", ids[last])


def test_min_tokens_also_holds_stop_strings_back(llm: LLM) -> None:
    [letter] = llm.engine.tokenizer.encode("a")
    always = replace(GREEDY, logit_bias={letter: 100.0}, stop=("a",))
    assert text_of(llm, "Alice was", always) == ""
    [later] = llm.generate("Alice was", replace(always, min_tokens=6))
    assert later.outputs[0].token_ids == [letter] * 7
    assert later.outputs[0].text == "a" * 6


def test_logprobs_are_those_of_the_model(llm: LLM) -> None:
    [output] = llm.generate("Alice was", replace(GREEDY, max_tokens=6, logprobs=3))
    completion = output.outputs[0]
    assert completion.logprobs is not None
    assert [entry.token_id for entry in completion.logprobs] == completion.token_ids
    for entry in completion.logprobs:
        assert len(entry.top) == 3
        # Greedy takes the most likely token.
        assert entry.top[0] == (entry.token_id, entry.logprob)
        assert entry.top[0][1] >= entry.top[1][1] >= entry.top[2][1]
        assert math.exp(entry.logprob) <= 1
    [warm] = llm.generate(
        "Alice was", SamplingParams(temperature=2.0, seed=1, max_tokens=1, logprobs=3)
    )
    assert warm.outputs[0].logprobs is not None
    # Neither temperature nor sampling changes the reported values.
    assert warm.outputs[0].logprobs[0].top == completion.logprobs[0].top


def test_n_sequences_differ_and_share_the_prompt(llm: LLM) -> None:
    [output] = llm.generate(
        "Alice was", SamplingParams(n=3, temperature=1.5, seed=7, max_tokens=16)
    )
    texts = [completion.text for completion in output.outputs]
    assert [completion.index for completion in output.outputs] == [0, 1, 2]
    assert len(set(texts)) == 3
    [alone] = llm.generate("Alice was", SamplingParams(temperature=1.5, seed=7, max_tokens=16))
    assert texts[0] == alone.outputs[0].text
    assert output.usage.completion_tokens == sum(len(c.token_ids) for c in output.outputs)


def test_logit_bias_forbids_and_forces(llm: LLM) -> None:
    [plain] = llm.generate("Alice was", replace(GREEDY, max_tokens=1))
    first = plain.outputs[0].token_ids[0]
    [forbidden] = llm.generate("Alice was", replace(GREEDY, max_tokens=1, logit_bias={first: -100}))
    assert forbidden.outputs[0].token_ids != [first]
    [forced] = llm.generate("Alice was", replace(GREEDY, max_tokens=4, logit_bias={17: 100.0}))
    assert forced.outputs[0].token_ids == [17] * 4


def test_frequency_penalty_stops_repetition(llm: LLM) -> None:
    forced = replace(GREEDY, max_tokens=12, logit_bias={17: 100.0})
    [same] = llm.generate("Alice was", forced)
    assert set(same.outputs[0].token_ids) == {17}
    [varied] = llm.generate(
        "Alice was",
        SamplingParams(temperature=0, max_tokens=12, logit_bias={17: 14.0}, frequency_penalty=2.0),
    )
    assert varied.outputs[0].token_ids.count(17) < 12


def test_stream_grows_to_what_generate_gives(llm: LLM) -> None:
    [whole] = llm.generate("Alice was", GREEDY)
    states = list(llm.stream("Alice was", GREEDY))
    texts = [state.outputs[0].text for state in states]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert [len(state.outputs[0].token_ids) for state in states] == list(range(1, 25))
    assert texts[-1] == whole.outputs[0].text
    assert [state.finished for state in states] == [False] * 23 + [True]


def test_leaving_a_stream_cancels_it(llm: LLM) -> None:
    stream = llm.stream("Alice was", GREEDY)
    next(stream)
    assert llm.engine.unfinished_requests
    assert isinstance(stream, Generator)
    stream.close()
    assert not llm.engine.unfinished_requests


def test_chat_answers_several_conversations(llm: LLM) -> None:
    questions = ["Who wrote this book?", "Tell me about the Caterpillar."]
    outputs = llm.chat(
        [[{"role": "user", "content": question}] for question in questions],
        SamplingParams(temperature=0, max_tokens=48),
    )
    for question, output in zip(questions, outputs, strict=True):
        [alone] = llm.chat(
            [{"role": "user", "content": question}], SamplingParams(temperature=0, max_tokens=48)
        )
        assert output.outputs[0].text == alone.outputs[0].text


def test_progress_goes_to_standard_error(llm: LLM, capsys: pytest.CaptureFixture[str]) -> None:
    llm.generate(OPENINGS, replace(GREEDY, max_tokens=2), progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{len(OPENINGS)}/{len(OPENINGS)}" in captured.err
    llm.generate(OPENINGS, replace(GREEDY, max_tokens=2))
    assert capsys.readouterr().err == ""  # not a terminal
