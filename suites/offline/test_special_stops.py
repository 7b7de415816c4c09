"""Stop strings with special tokens, which are generated but not part of the text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from stagegate import EngineConfig, SamplingParams, build_engine
from stagegate.outputs import CompletionOutput
from stagegate.text.tokenizer import Tokenizer
from suites.engine.fake_executor import FakeExecutor, Script
from suites.models.multilingual import END_OF_SENTENCE, IM_END, IM_START

Generate = Callable[..., CompletionOutput]


@pytest.fixture(scope="module")
def tokenizer(multilingual_model: Path) -> Tokenizer:
    return Tokenizer.load(multilingual_model)


@pytest.fixture(scope="module")
def generate(multilingual_model: Path, tokenizer: Tokenizer) -> Generate:
    """The output of a request for a scripted text, with special tokens spelled out."""
    config = EngineConfig(model=multilingual_model, kv_capacity_tokens=2048)
    script = Script()
    engine = build_engine(config, executor=FakeExecutor(script))

    def run(written: str | Iterable[int], **params: object) -> CompletionOutput:
        script.token_ids = tokenizer.encode(written) if isinstance(written, str) else list(written)
        fields = {"max_tokens": len(script.token_ids)} | params
        engine.add_request("x", SamplingParams(**fields))  # type: ignore[arg-type]
        seen = ""
        while engine.unfinished_requests:
            [request] = engine.step()
            assert request.choices[0].text.startswith(seen)  # nothing is taken back
            seen = request.choices[0].text
        assert engine.kv_stats().used == 0
        return request.output().outputs[0]

    return run


def ended(output: CompletionOutput) -> tuple[str, str | None, str | int | None]:
    return output.text, output.finish_reason, output.stop_reason


SPECIAL = (END_OF_SENTENCE, IM_START, "<｜User｜>")


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("special", SPECIAL)
def test_a_special_token_that_is_a_stop_string_ends_the_text(
    generate: Generate, special: str, include: bool, skip: bool
) -> None:
    output = generate(
        f"你好{special}世界",
        stop=[special, "never"],
        include_stop_str_in_output=include,
        skip_special_tokens=skip,
    )
    assert ended(output) == ("你好" + (special if include else ""), "stop", special)
    assert len(output.token_ids) == 2


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize(
    ("written", "stop", "text"),
    [
        ("一{s}二", "一{s}", ""),
        ("一。{s}\n二", "。{s}\n", "一"),
        ("一{s}{s}二", "{s}{s}", "一"),
        ("一{s}二{s}三", "二{s}", "一{s}"),
        ("一{s}二", "{s}二", "一"),
    ],
)
def test_a_stop_string_may_contain_a_special_token(
    generate: Generate, written: str, stop: str, text: str, skip: bool
) -> None:
    special = END_OF_SENTENCE
    stop = stop.format(s=special)
    output = generate(written.format(s=special), stop=stop, skip_special_tokens=skip)
    assert ended(output) == (text.format(s="" if skip else special), "stop", stop)


def test_a_stop_string_matches_across_an_omitted_token(generate: Generate) -> None:
    """Visible text never contains a stop string."""
    written = f"世{END_OF_SENTENCE}界。"
    assert ended(generate(written, stop="世界")) == ("", "stop", "世界")
    kept = generate(written, stop="世界", skip_special_tokens=False)
    assert ended(kept) == (written, "length", None)


@pytest.mark.parametrize("stop", [">", "end", "<｜", "of▁sentence｜>", "好<"])
def test_part_of_an_omitted_token_does_not_match(generate: Generate, stop: str) -> None:
    assert ended(generate(f"你好{END_OF_SENTENCE}。", stop=stop)) == ("你好。", "length", None)


@pytest.mark.parametrize("skip", [True, False])
def test_the_text_of_a_special_token_matches_however_it_is_written(
    generate: Generate, tokenizer: Tokenizer, skip: bool
) -> None:
    spelled = [token for letter in IM_START for token in tokenizer.encode(letter)]
    assert len(spelled) == len(IM_START)
    written = [*tokenizer.encode("你好"), *spelled, *tokenizer.encode("。")]
    output = generate(written, stop=IM_START, skip_special_tokens=skip)
    assert ended(output) == ("你好", "stop", IM_START)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("ignore_eos", [False, True])
def test_the_end_of_a_turn_may_be_a_stop_string(
    generate: Generate, ignore_eos: bool, include: bool, skip: bool
) -> None:
    output = generate(
        f"你好{IM_END}世界",
        stop=IM_END,
        ignore_eos=ignore_eos,
        include_stop_str_in_output=include,
        skip_special_tokens=skip,
    )
    assert ended(output) == ("你好" + (IM_END if include else ""), "stop", IM_END)


@pytest.mark.parametrize("skip", [True, False])
def test_the_end_of_a_turn_may_complete_a_stop_string(generate: Generate, skip: bool) -> None:
    fields = {"skip_special_tokens": skip}
    output = generate(f"你好。{IM_END}", stop=f"。{IM_END}", **fields)
    assert ended(output) == ("你好", "stop", f"。{IM_END}")
    other = generate(f"你好{IM_END}", stop=f"。{IM_END}", **fields)
    assert ended(other) == ("你好", "stop", None)


def test_a_stop_token_that_is_a_stop_string_too(generate: Generate, tokenizer: Tokenizer) -> None:
    [token] = tokenizer.encode(END_OF_SENTENCE)
    written = f"你好{END_OF_SENTENCE}。"
    assert ended(generate(written, stop_token_ids=[token])) == ("你好", "stop", token)
    both = generate(written, stop_token_ids=[token], stop=END_OF_SENTENCE)
    assert ended(both) == ("你好", "stop", END_OF_SENTENCE)


@pytest.mark.parametrize("skip", [True, False])
def test_min_tokens_come_before_a_stop_string(
    generate: Generate, tokenizer: Tokenizer, skip: bool
) -> None:
    special = END_OF_SENTENCE
    turn = [*tokenizer.encode("你好"), *tokenizer.encode(special)]
    output = generate(turn * 3, stop=special, min_tokens=2, skip_special_tokens=skip)
    assert ended(output) == ("你好" + ("" if skip else special) + "你好", "stop", special)
    assert output.token_ids == turn * 2
