"""Added and special tokens: what every file of a checkpoint says of them is honoured."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stagegate.errors import TokenizerError
from stagegate.text.tokenizer import Tokenizer
from suites.engine.edited_checkpoint import Edits, edited, with_decoder, without_added

CONFIG = "tokenizer_config.json"
NO_DECODER = {"added_tokens_decoder": ...}
# As tiny-qwen2's tokenizer has it: 2045 <|endoftext|>, 2046 <|im_start|>, 2047 <|im_end|>.
TEXT = "a <|im_end|> <tool>"


@pytest.fixture
def load(checkpoint_original: Path, tmp_path: Path) -> Callable[[Edits], Tokenizer]:
    return lambda edits: Tokenizer.load(edited(checkpoint_original, tmp_path / "copy", edits))


@pytest.mark.parametrize(
    ("edits", "ids"),
    [
        ({}, [64, 220, 2047, 220, 27, 83, 841, 29]),
        ({"tokenizer.json": without_added(2047)}, [64, 220, 2047, 220, 27, 83, 841, 29]),
        ({"tokenizer.json": without_added(2046)}, [64, 220, 2047, 220, 27, 83, 841, 29]),
        (
            {"tokenizer.json": without_added(2045, 2046, 2047)},
            [64, 220, 2047, 220, 27, 83, 841, 29],
        ),
        # One that only tokenizer.json has stays; Hugging Face renumbers those behind it.
        ({CONFIG: with_decoder({2046: None})}, [64, 220, 2047, 220, 27, 83, 841, 29]),
        ({CONFIG: NO_DECODER}, [64, 220, 2047, 220, 27, 83, 841, 29]),
        ({CONFIG: None}, [64, 220, 2047, 220, 27, 83, 841, 29]),
        ({CONFIG: with_decoder({2048: {"content": "<tool>"}})}, [64, 220, 2047, 220, 2048]),
        (
            {CONFIG: with_decoder({2048: {"content": "<tool>", "lstrip": True}})},
            [64, 220, 2047, 2048],
        ),
        (
            {CONFIG: with_decoder({2048: {"content": "tool", "single_word": True}})},
            [64, 220, 2047, 220, 27, 2048, 29],
        ),
        ({CONFIG: NO_DECODER, "added_tokens.json": {"<tool>": 2048}}, [64, 220, 2047, 220, 2048]),
        ({CONFIG: {"pad_token": "<tool>"}}, [64, 220, 2047, 220, 2048]),
        ({CONFIG: {"tool_token": "<tool>"}}, [64, 220, 2047, 220, 2048]),
        ({CONFIG: {"extra_special_tokens": ["<tool>"]}}, [64, 220, 2047, 220, 2048]),
        ({CONFIG: {"extra_special_tokens": {"tool": "<tool>"}}}, [64, 220, 2047, 220, 2048]),
        (
            {CONFIG: {"additional_special_tokens": [{"content": "<tool>"}]}},
            [64, 220, 2047, 220, 2048],
        ),
        (
            {CONFIG: {"split_special_tokens": True}},
            [64, 220, 27, 91, 382, 62, 720, 91, 29, 220, 27, 83, 841, 29],
        ),
        (
            {CONFIG: {"add_prefix_space": True}},
            [258, 220, 2047, 220, 27, 580, 75, 220, 29],
        ),
    ],
)
def test_ids(load: Callable[[Edits], Tokenizer], edits: Edits, ids: list[int]) -> None:
    assert load(edits).encode(TEXT) == ids


@pytest.mark.parametrize("name", ["tokenizer.json", CONFIG])
def test_a_byte_order_mark_is_skipped(
    checkpoint_original: Path, load: Callable[[Edits], Tokenizer], name: str
) -> None:
    content = (checkpoint_original / name).read_bytes()
    assert load({name: b"\xef\xbb\xbf" + content}).encode("<|im_end|>") == [2047]


def test_prefix_space_of_the_config_rules_over_tokenizer_json(
    load: Callable[[Edits], Tokenizer],
) -> None:
    def add_prefix_space(stated: dict[str, Any]) -> None:
        stated["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = True

    assert load({"tokenizer.json": add_prefix_space}).encode("a") == [64]


@pytest.mark.parametrize(
    ("edits", "special"),
    [
        ({}, True),
        ({CONFIG: with_decoder({2046: {"special": False}}, additional_special_tokens=[])}, False),
        ({CONFIG: with_decoder({2046: {"special": False}})}, True),  # a list has it
        (
            {
                CONFIG: with_decoder(
                    {2046: {"special": False}},
                    additional_special_tokens=None,
                    pad_token="<|im_start|>",
                )
            },
            True,
        ),
        (
            {
                "tokenizer.json": without_added(2046),
                CONFIG: NO_DECODER | {"additional_special_tokens": []},
                "added_tokens.json": {"<|im_start|>": 2046},
            },
            False,
        ),
    ],
)
def test_special_flags(load: Callable[[Edits], Tokenizer], edits: Edits, special: bool) -> None:
    tokenizer = load(edits)
    assert tokenizer.is_special(2046) is special
    assert tokenizer.decode([2046, 64]) == ("a" if special else "<|im_start|>a")


@pytest.mark.parametrize(
    ("edits", "eos"),
    [
        ({}, 2047),
        ({CONFIG: {"eos_token": "<|endoftext|>"}}, 2045),
        ({CONFIG: {"eos_token": {"__type": "AddedToken", "content": "<|im_start|>"}}}, 2046),
        ({CONFIG: {"eos_token": {"content": "<|im_start|>"}}}, 2046),
        ({CONFIG: {"eos_token": "the"}}, 755),
        ({CONFIG: {"eos_token": None}}, None),
        ({CONFIG: {"eos_token": ...}}, 2045),  # Hugging Face's default for Qwen2
        ({CONFIG: None}, 2045),
        (
            {
                CONFIG: NO_DECODER | {"eos_token": ...},
                "special_tokens_map.json": {"eos_token": "<|im_end|>"},
            },
            2047,
        ),
        (
            {CONFIG: NO_DECODER, "special_tokens_map.json": {"eos_token": "<|im_start|>"}},
            2046,
        ),
        ({"special_tokens_map.json": {"eos_token": "<|im_start|>"}}, 2047),  # ruled out
    ],
)
def test_the_end_of_a_text(
    load: Callable[[Edits], Tokenizer], edits: Edits, eos: int | None
) -> None:
    assert load(edits).eos_token_id == eos


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({CONFIG: {"eos_token": "<eot>"}}, r"tokenizer_config.*eos_token = '<eot>'.*with its id"),
        ({CONFIG: {"eos_token": 2047}}, r"eos_token = 2047.*a text"),
        ({CONFIG: {"eos_token": ["<|im_end|>"]}}, "eos_token"),
        ({CONFIG: {"eos_token": ""}}, "eos_token = ''"),
        ({CONFIG: {"bos_token": {"text": "<s>"}}}, "bos_token"),
        ({CONFIG: {"extra_special_tokens": "<tool>"}}, "extra_special_tokens"),
        ({CONFIG: {"additional_special_tokens": [3]}}, "additional_special_tokens"),
        ({CONFIG: {"added_tokens_decoder": []}}, "added_tokens_decoder.*an object"),
        ({CONFIG: with_decoder({2048: {"content": 3}})}, "2048 = .*a text"),
        ({CONFIG: with_decoder({2048: {"lstrip": True}})}, "'content' is missing"),
        ({CONFIG: with_decoder({2047: {"special": "yes"}})}, "special = 'yes'"),
        ({CONFIG: {"added_tokens_decoder": {"x": {"content": "<tool>"}}}}, "x = .*token ids"),
        # An id that the library would not give.
        ({CONFIG: with_decoder({2050: {"content": "<tool>"}})}, "'<tool>'.*2050.*2048.*gap"),
        ({CONFIG: with_decoder({2048: {"content": "the"}})}, "'the'.*2048.*755"),
        (
            {
                "tokenizer.json": without_added(2046),
                CONFIG: with_decoder({2046: None}, additional_special_tokens=None),
            },
            r"'<\|im_end\|>'.*2047.*2046.*gap",
        ),
        # Two files of two models.
        (
            {CONFIG: with_decoder({2047: {"content": "<eot>"}})},
            r"token 2047 is '<eot>', but in tokenizer\.json that is '<\|im_end\|>'",
        ),
        (
            {CONFIG: with_decoder({2048: {"content": "<|im_end|>"}})},
            r"token 2048 is '<\|im_end\|>', but in tokenizer\.json its id is 2047",
        ),
        (
            {CONFIG: NO_DECODER, "added_tokens.json": {"<tool>": 2047}},
            "tokens.json: token 2047 is '<tool>'",
        ),
        ({CONFIG: NO_DECODER, "added_tokens.json": {"<tool>": "2048"}}, "<tool> = '2048'"),
        ({CONFIG: NO_DECODER, "added_tokens.json": {"<a>": 2048, "<b>": 2048}}, "same id"),
        ({CONFIG: {"split_special_tokens": "no"}}, "split_special_tokens"),
        ({CONFIG: {"add_prefix_space": 1}}, "add_prefix_space = 1"),
        ({CONFIG: {"fast_tokenizer_files": ["tokenizer.4.0.json"]}}, "fast_tokenizer_files"),
        (
            {
                CONFIG: {
                    "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": 1
                }
            },
            "corrupt_output = 1",
        ),
        ({CONFIG: '{"eos_token": "a", "eos_token": "b"}'}, "'eos_token' appears twice"),
        ({CONFIG: b"\xff"}, r"tokenizer_config\.json: cannot be read"),
        ({CONFIG: "[]"}, "a JSON object is needed"),
        ({CONFIG: NO_DECODER, "special_tokens_map.json": "{"}, r"special_tokens_map\.json"),
    ],
)
def test_contradictions_are_refused_by_name(
    load: Callable[[Edits], Tokenizer], edits: Edits, words: str
) -> None:
    with pytest.raises(TokenizerError, match=words):
        load(edits)


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({CONFIG: {"add_bos_token": True}}, "add_bos_token is not done"),
        ({CONFIG: {"some_switch": 1, "other": "x"}}, "not read: other, some_switch"),
        (
            {
                "special_tokens_map.json": {
                    "eos_token": "<|im_start|>",
                    "pad_token": "<|endoftext|>",
                }
            },
            r"special_tokens_map\.json: not read: eos_token:",
        ),
        ({"added_tokens.json": {"<tool>": 2048}}, r"added_tokens\.json: not read: <tool>:"),
    ],
)
def test_what_is_not_read_is_in_the_log(
    load: Callable[[Edits], Tokenizer], caplog: pytest.LogCaptureFixture, edits: Edits, words: str
) -> None:
    load(edits)
    [message] = caplog.messages
    assert re.search(words, message), message
