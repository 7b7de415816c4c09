"""Forms over a vocabulary of words in many scripts and of parts of characters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stagegate import LLM, SamplingParams
from stagegate.structured.grammar import Grammar
from stagegate.structured.grammar_matcher import GrammarCompiler
from stagegate.text.tokenizer import Tokenizer
from suites.models.multilingual import END_OF_SENTENCE, IM_END, TEXTS, WORDS, multilingual_tokenizer

TOKENIZER = Tokenizer(multilingual_tokenizer())
[END] = TOKENIZER.encode(IM_END)
VOCABULARY = 576  # padded, as that of the checkpoint is
COMPILER = GrammarCompiler(TOKENIZER, VOCABULARY, (END,))


def takes(grammar: Grammar, token_ids: list[int]) -> bool:
    """Whether a text may be made of these tokens, and end there."""
    matcher = COMPILER.matcher(grammar)
    for token_id in token_ids:
        if matcher.finished or not matcher.allowed[token_id // 32] >> token_id % 32 & 1:
            return False
        matcher.accept(token_id)
    return matcher.finished or bool(matcher.allowed[END // 32] >> END % 32 & 1)


def spelled(text: str) -> list[int]:
    """A text in tokens of one byte each."""
    bytes_of = {TOKENIZER.token_bytes(i): i for i in range(TOKENIZER.vocab_size)}
    return [bytes_of[bytes([byte])] for byte in text.encode()]


@pytest.mark.parametrize("text", [*WORDS, *TEXTS], ids=ascii)
def test_a_choice_is_written_as_the_model_would_write_it(text: str) -> None:
    token_ids = TOKENIZER.encode(text)
    grammar = Grammar.choice([TOKENIZER.decode(token_ids), "never"])
    assert takes(grammar, token_ids)
    assert not takes(grammar, token_ids[:-1])
    assert not takes(grammar, [*token_ids, *TOKENIZER.encode("。")])


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_json_string_may_be_written_in_words_or_in_bytes(text: str) -> None:
    grammar = Grammar.json_schema({"type": "array", "items": {"type": "string"}})
    written = json.dumps([text], ensure_ascii=False)
    assert takes(grammar, TOKENIZER.encode(written))
    assert takes(grammar, spelled(written))
    assert not takes(grammar, spelled(written)[:-1])


@pytest.mark.parametrize(
    ("pattern", "texts", "others"),
    [
        (r"\p{Han}+。", ["你好。", "世界你好。"], ["。", "hello。", "你好"]),
        ("[а-я]{3}", ["мир"], ["МИР", "ми"]),
        (".", ["好", "🐱", "\u2028", "\xa0"], ["好好", "👍🏽", ""]),
        ("(👍🏽|👩\u200d🚀)+", ["👍🏽", "👩\u200d🚀👍🏽"], ["👍", "🏽", "👩🚀"]),
        ("x\u0302", ["x\u0302"], ["x", "\u0302"]),
    ],
)
def test_a_pattern_counts_characters(pattern: str, texts: list[str], others: list[str]) -> None:
    grammar = Grammar.regex(pattern)
    for text in texts:
        assert takes(grammar, TOKENIZER.encode(text))
    for text in others:
        assert not takes(grammar, TOKENIZER.encode(text))


def test_a_special_token_does_not_match_its_own_text() -> None:
    grammar = Grammar.choice([END_OF_SENTENCE])
    assert takes(grammar, spelled(END_OF_SENTENCE))
    assert not takes(grammar, TOKENIZER.encode(END_OF_SENTENCE))


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"名字": {"type": "string", "maxLength": 6}, "😀": {"enum": ["你好。", "नमस्ते"]}},
    "required": ["名字", "😀"],
    "additionalProperties": False,
}


def test_a_model_that_knows_no_better_writes_what_fits(
    multilingual_model: Path, device: str
) -> None:
    llm = LLM(multilingual_model, device=device, dtype="f32", kv_capacity_tokens=2048)
    batch = [
        SamplingParams(
            grammar=Grammar.json_schema(SCHEMA), seed=seed, temperature=1.5, max_tokens=300
        )
        for seed in range(12)
    ]
    names = set()
    for output in llm.generate(["说"] * len(batch), batch):
        [choice] = output.outputs
        assert choice.finish_reason == "stop"
        found = json.loads(choice.text)
        assert list(found) == ["名字", "😀"]
        assert len(found["名字"]) <= 6
        assert found["😀"] in {"你好。", "नमस्ते"}
        names.add(found["名字"])
    assert any(not name.isascii() for name in names)
