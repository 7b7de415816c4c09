"""Structured output matches its grammar, whatever the model would generate without it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stagegate import LLM, SamplingParams
from stagegate.errors import InvalidRequestError, StagegateError
from stagegate.structured.grammar import Grammar
from stagegate.structured.grammar_matcher import GrammarCompiler
from stagegate.text.tokenizer import Tokenizer
from suites.engine.grammar_reader import GrammarReader, may_come

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 7, "maximum": 99},
        "friends": {"type": "array", "items": {"enum": ["Alice", "Dinah"]}, "maxItems": 3},
    },
    "required": ["name", "age", "friends"],
    "additionalProperties": False,
}
REGEX = "[0-9]{3}-[a-c]{2}( (yes|no))?"
PROMPT = "Alice was beginning to get very tired of sitting by her sister on the bank, and"


@pytest.fixture(scope="module")
def llm(model_path: Path, device: str, kv_layout: str, num_threads: int) -> LLM:
    return LLM(
        model_path, device=device, dtype="f32", kv_layout=kv_layout, kv_capacity_tokens=2048,
        num_threads=num_threads,
    )  # fmt: skip


def generate(llm: LLM, grammar: Grammar, seeds: range, **params: Any) -> list[Any]:
    settings = {"temperature": 1.0, "max_tokens": 200} | params
    batch = [SamplingParams(grammar=grammar, seed=seed, **settings) for seed in seeds]
    return [output.outputs[0] for output in llm.generate([PROMPT] * len(batch), batch)]


def test_json_of_a_schema(llm: LLM) -> None:
    # With all the white space that it may have, a character a token.
    params = {"max_tokens": 600}
    for output in generate(llm, Grammar.json_schema(PERSON), range(24), **params):
        person = json.loads(output.text)
        assert person.keys() == {"name", "age", "friends"}
        assert 7 <= person["age"] <= 99
        assert len(person["name"]) <= 20
        assert set(person["friends"]) <= {"Alice", "Dinah"}
        assert output.finish_reason == "stop"


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_regex_and_choice(llm: LLM, temperature: float) -> None:
    for output in generate(llm, Grammar.regex(REGEX), range(12), temperature=temperature):
        assert re.fullmatch(REGEX, output.text)
        assert output.finish_reason == "stop"
    choices = ["the White Rabbit", "the Red Queen", 'a "quoted" one', "é|(x)"]
    for output in generate(llm, Grammar.choice(choices), range(12), temperature=temperature):
        assert output.text in choices


GRAMMARS = {
    "lark": """
        start: "SELECT " columns " FROM " TABLE
        columns: COLUMN (", " COLUMN){0,2}
        COLUMN: "name" | "age"
        TABLE: /[a-z]{3,6}/""",
    "GBNF": """
        root ::= "SELECT " column (", " column)? " FROM " table
        column ::= "name" | "age"
        table ::= [a-z] [a-z] [a-z] [a-z]?""",
}


@pytest.mark.parametrize("syntax", GRAMMARS)
def test_a_grammar(llm: LLM, syntax: str) -> None:
    for output in generate(llm, Grammar.context_free(GRAMMARS[syntax]), range(6), n=2):
        assert re.fullmatch("SELECT (name|age)(, (name|age)){0,2} FROM [a-z]{3,6}", output.text)
        assert output.finish_reason == "stop"


def test_a_json_object_may_be_cut_by_max_tokens_only(llm: LLM) -> None:
    for output in generate(llm, Grammar.json_object(), range(6), max_tokens=60):
        if output.finish_reason == "stop":
            assert isinstance(json.loads(output.text), dict)
        else:
            assert (output.finish_reason, output.text[0]) == ("length", "{")


def test_every_choice_of_n_follows_its_own_text(llm: LLM) -> None:
    params = SamplingParams(grammar=Grammar.regex(REGEX), n=6, temperature=1.5, max_tokens=40)
    [output] = llm.generate(PROMPT, params)
    texts = [choice.text for choice in output.outputs]
    assert all(re.fullmatch(REGEX, text) for text in texts)
    assert len(set(texts)) > 1


def test_neighbours_are_free_and_unchanged(llm: LLM) -> None:
    free = SamplingParams(temperature=0, max_tokens=24, logprobs=1)
    structured = SamplingParams(temperature=0, max_tokens=24, grammar=Grammar.json_schema(PERSON))
    [alone] = llm.generate([PROMPT], free)
    beside, _ = llm.generate([PROMPT, PROMPT], [free, structured])
    assert beside.outputs[0].token_ids == alone.outputs[0].token_ids


def test_schedules_do_not_change_the_text(model_path: Path, device: str, num_threads: int) -> None:
    def texts(**settings: Any) -> list[str]:
        llm = LLM(model_path, device=device, dtype="f32", num_threads=num_threads, **settings)
        return [output.text for output in generate(llm, Grammar.json_schema(PERSON), range(6))]

    roomy = texts(kv_capacity_tokens=2048)
    assert texts(kv_capacity_tokens=2048, max_num_batched_tokens=7) == roomy
    # Room for two or three at a time, so that sequences lose their place and start over.
    assert texts(kv_capacity_tokens=256) == roomy


def test_ends_and_lengths(llm: LLM) -> None:
    # Complete before min_tokens: nothing more fits, so it ends.
    [short] = generate(llm, Grammar.choice(["no"]), range(1), min_tokens=50)
    assert (short.text, short.finish_reason) == ("no", "stop")
    # A token that the grammar needs is a stop token: before min_tokens it does not stop.
    [digit] = llm.engine.tokenizer.encode("7")
    params = {"stop_token_ids": [digit], "min_tokens": 3}
    [forced] = generate(llm, Grammar.regex("777"), range(1), **params)
    assert forced.finish_reason == "stop"
    [long] = generate(llm, Grammar.regex("a+"), range(1), ignore_eos=True, max_tokens=30)
    assert (set(long.text), long.finish_reason, len(long.token_ids)) == ({"a"}, "length", 30)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Grammar.regex("("),
        lambda: Grammar.json_schema("{"),
        lambda: Grammar.json_schema({"type": "nothing"}),
        lambda: Grammar.choice([]),
        lambda: Grammar.choice([""]),
        lambda: Grammar.context_free("start: nothing"),
        lambda: Grammar.context_free('root ::= "a'),
        lambda: Grammar.context_free("hello"),
        lambda: Grammar.regex("\ud800"),
        lambda: Grammar.choice(["\ud800"]),
    ],
)
def test_an_impossible_grammar_is_refused(make: Any) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        make()
    assert refused.value.parameter == "grammar"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", 'invalid regex "(" (in regex): regex parse error: ( error: unclosed group'),
        ("a(?<=b)", "error: look-around, including look-ahead and look-behind, is not supported"),
        ("[z-a]", "error: invalid character class range, the start must be <= the end"),
    ],
)
def test_a_refusal_says_why_on_one_line(pattern: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        Grammar.regex(pattern)
    assert str(refused.value).endswith(message)
    assert "\n" not in str(refused.value)


def test_a_grammar_that_nothing_matches_is_refused(llm: LLM) -> None:
    impossible = Grammar.json_schema({"$ref": "#"})
    with pytest.raises(InvalidRequestError, match="grammar: nothing matches"):
        llm.generate(PROMPT, SamplingParams(grammar=impossible))


def test_special_tokens_in_a_grammar_are_spelled_out(llm: LLM) -> None:
    choice = "a<|im_end|>b<|im_end|><|im_start|>"
    [chosen] = generate(llm, Grammar.choice([choice]), range(1))
    assert (chosen.text, chosen.finish_reason) == (choice, "stop")
    wanted = {"<|im_start|>": "x<|endoftext|>"}
    schema = {
        "type": "object",
        "properties": {name: {"const": text} for name, text in wanted.items()},
        "required": list(wanted),
        "additionalProperties": False,
    }
    for output in generate(llm, Grammar.json_schema(schema), range(4)):
        assert json.loads(output.text) == wanted


@pytest.mark.tiny_model  # which grammar is too complex depends on the vocabulary
def test_a_too_complex_grammar_fails_only_its_request(llm: LLM) -> None:
    # Within the limits when it is compiled, and past them with the first token.
    hard = SamplingParams(grammar=Grammar.regex(".*" * 200), n=2, max_tokens=20, seed=1)
    free = SamplingParams(temperature=0, max_tokens=20)
    [wanted] = llm.generate(PROMPT, free)
    engine = llm.engine
    failing, beside = engine.add_request(PROMPT, hard), engine.add_request(PROMPT, free)
    outputs = {}
    while engine.unfinished_requests:
        for request in engine.step():
            outputs[request.request_id] = request.output()
    assert isinstance(outputs[failing].error, StagegateError)
    assert re.match("grammar: nothing matches this grammar: .+", str(outputs[failing].error))
    assert [output.finish_reason for output in outputs[failing].outputs] == ["error"] * 2
    assert outputs[beside].error is None
    assert outputs[beside].outputs[0].token_ids == wanted.outputs[0].token_ids


def test_texts_of_a_grammar_do_not_use_up_its_automaton(model_path: Path) -> None:
    tokenizer = Tokenizer.load(model_path)
    compiler = GrammarCompiler(tokenizer, tokenizer.vocab_size, [0])
    [a], [b] = tokenizer.encode("a"), tokenizer.encode("b")
    # Every text of a and b leads to a state of its own, and the library keeps 250,000 of them.
    grammar = Grammar.regex("[a-z ]*a[a-z ]{40}")
    bits = np.random.default_rng(0).integers(0, 2, size=(40, 300))
    early = compiler.matcher(grammar)
    early.accept(a)
    for text in bits:
        matcher = compiler.matcher(grammar)
        for bit in text:
            matcher.accept(a if bit else b)
            assert matcher.error is None
    for _ in range(40):
        assert not early.finished  # its copies of the states are those that were used up
        early.accept(b)
    assert early.error is None
    fresh = GrammarCompiler(tokenizer, tokenizer.vocab_size, [0]).matcher(grammar)
    for token in [a] + [b] * 40:
        fresh.accept(token)
    np.testing.assert_array_equal(early.allowed, fresh.allowed)


def test_a_model_without_an_end_token_ends_complete_texts() -> None:
    reads = GrammarReader(ends=False)
    for grammar, text in (
        (Grammar.choice(["yes", "no"]), "yes"),
        (Grammar.json_schema(PERSON), '{"name": "x", "age": 8, "friends": []}'),
        (Grammar.regex("[0-9]{3}"), "123"),
    ):
        matcher = reads.compiler.matcher(grammar)
        for token_id in reads.tokenizer.encode(text):
            assert not matcher.finished
            assert may_come(matcher, token_id)
            matcher.accept(token_id)
        assert matcher.finished
        assert matcher.error is None
    endless = reads.read(Grammar.regex("a+"), "aaaa")
    assert endless is not None
    assert not endless.finished
    [a] = reads.tokenizer.encode("a")
    assert np.flatnonzero(np.unpackbits(endless.allowed.view(np.uint8), bitorder="little"))[0] == a
    with pytest.raises(InvalidRequestError, match="no token ends a text"):
        reads.compiler.matcher(Grammar.regex("(ab){0}"))


def test_a_checkpoint_without_an_end_token_follows_its_grammar(
    model_path: Path, tmp_path: Path
) -> None:
    for path in model_path.iterdir():
        if path.suffix == ".json":
            stated = json.loads(path.read_text())
            kept = {key: value for key, value in stated.items() if not key.startswith("eos_token")}
            (tmp_path / path.name).write_text(json.dumps(kept))
        else:
            (tmp_path / path.name).symlink_to(path.resolve())
    llm = LLM(tmp_path, dtype="f32", kv_capacity_tokens=2048)
    for output in generate(llm, Grammar.json_schema(PERSON), range(4), n=2, max_tokens=600):
        assert json.loads(output.text).keys() == PERSON["properties"].keys()
        assert output.finish_reason == "stop"


def test_masks_cover_the_vocabulary(model_path: Path) -> None:
    tokenizer = Tokenizer.load(model_path)
    vocab_size = tokenizer.vocab_size + 37  # models pad theirs
    compiler = GrammarCompiler(tokenizer, vocab_size, [0])
    matcher = compiler.matcher(Grammar.regex("[ab]c"))
    flags = np.unpackbits(matcher.allowed.view(np.uint8), bitorder="little")
    assert len(flags) == -(-vocab_size // 32) * 32
    allowed = {tokenizer.token_bytes(int(token)) for token in np.flatnonzero(flags)}
    assert {b"a", b"b"} <= allowed <= {b"a", b"b", b"ac", b"bc"}
    other = compiler.matcher(Grammar.regex("[ab]c"))
    for text in ("a", "c"):
        [token] = tokenizer.encode(text)
        assert not matcher.finished
        matcher.accept(token)
    assert matcher.finished
    assert not other.finished
