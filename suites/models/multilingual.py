"""Write a tiny Qwen2 checkpoint whose tokenizer has whole tokens outside ASCII.

    python -m suites.models.multilingual DIR

Its weights are random; its vocabulary is what matters. Beside the 256 bytes it has tokens that are
part of a character, whole characters, and words of many scripts, as the tokenizers of published
models do. Everything is made in code, the same in every run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

import tokenizers

from suites.models.random_qwen2 import TOKENIZER, Dimensions, write_random_qwen2

# Each is one token of the vocabulary, and so is each of its characters.
WORDS: Final = (
    *("你好", "世界", "爱丽丝", "。", "，", "：", "“", "”", "？\n", "。\n\n"),
    *("こんにちは", "カタカナ", "が", "안녕", "하세요"),
    *("Привет", "мир", "Ελλάδα", "ὦ", "naïve", "Straße", "ﬁ", "Ǆ", "İ", "ı"),
    *("नमस", "्त", "े", "ไทย", "ภาษา", "ั"),
    *("שלום", "مرحبا", "العربية", "\u200f", "\u202e"),
    *("🐱", "😀", "👍🏽", "👨\u200d👩\u200d👧\u200d👦", "👩\u200d🚀", "🏳️\u200d🌈", "🇩🇪", "#️⃣"),
    # The split expression separates a letter from its mark: these words are only ever generated.
    *("e\u0301", "x\u0302", "a\u0308\u0304", "\u0301", "\u200d", "\ufe0f"),
    *("\u2028", "\u2029", "\x85", "\xa0", "\u3000", "\u200b", "\ufeff", "\ufffd", "\x7f"),
    *('。"', '"，"', "—", "…", "€", "∑", "𝔘", "\U0010ffff", "\ue000"),
    *("Alice", " the", '":', '{"', '"}', "true", "  "),
)

# Texts that take these tokens and, between them, single bytes.
TEXTS: Final = (
    "说你好，世界。",
    "你好世界。\n\n爱丽丝：“再见？”",
    "こんにちは、カタカナが",
    "안녕하세요!",
    "Привет, мир! Ελλάδα naïve Straße",
    "नमस्ते ไทยภาษา",
    "שלום مرحبا العربية",
    "🐱 cat 😀👍🏽👩\u200d🚀 👨\u200d👩\u200d👧\u200d👦🏳️\u200d🌈🇩🇪#️⃣",
    "x\u0302 and q\u0323\u0307",
    "a\u2028b\u2029c\x85d\xa0e\u3000f\u200b\ufeff",
    '{"名": "你好。", "😀": "𝔘"}',
    "<think>想</think>\n答：42€",
)

END_OF_TEXT: Final = "<|endoftext|>"
IM_START: Final = "<|im_start|>"
IM_END: Final = "<|im_end|>"
END_OF_SENTENCE: Final = "<｜end▁of▁sentence｜>"  # as DeepSeek writes it
SPECIAL_TOKENS: Final = (END_OF_TEXT, IM_START, IM_END, END_OF_SENTENCE, "<｜User｜>")
# Added, but part of the text.
ADDED_TOKENS: Final = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<｜tool▁sep｜>")

_PADDED_TO = 64  # ids past the tokenizer's vocabulary, as most published models have


def write_multilingual_qwen2(directory: Path) -> Path:
    """Write the checkpoint to `directory`, which is made; returns it."""
    tokenizer = multilingual_tokenizer()
    known = tokenizer.get_vocab_size(with_added_tokens=True)
    dimensions = Dimensions(
        vocab_size=-(-(known + 1) // _PADDED_TO) * _PADDED_TO, max_position_embeddings=2048
    )
    write_random_qwen2(directory, dimensions)
    tokenizer.save(str(directory / "tokenizer.json"))
    end_of_text, im_end = map(tokenizer.token_to_id, (END_OF_TEXT, IM_END))
    _edit(directory / "config.json", bos_token_id=end_of_text, eos_token_id=im_end)
    (directory / "generation_config.json").write_text(
        json.dumps({"do_sample": False, "eos_token_id": [im_end, end_of_text]})
    )
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    _edit(
        directory / "tokenizer_config.json",
        added_tokens_decoder={
            str(token_id): {"content": token.content, "special": token.special} | flags
            for token_id, token in tokenizer.get_added_tokens_decoder().items()
        },
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        eos_token=IM_END,
    )
    return directory


def multilingual_tokenizer() -> tokenizers.Tokenizer:
    """Byte-level BPE with Qwen2's normaliser and split expression."""
    stated = json.loads((TOKENIZER / "tokenizer.json").read_text("utf-8"))
    vocabulary, merges = _vocabulary()
    stated["added_tokens"] = []
    stated["model"] |= {"vocab": vocabulary, "merges": merges}
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(stated))
    for contents, special in ((SPECIAL_TOKENS, True), (ADDED_TOKENS, False)):
        tokens = [
            tokenizers.AddedToken(content, special=special, normalized=False)
            for content in contents
        ]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(tokens)
    return tokenizer


def _vocabulary() -> tuple[dict[str, int], list[list[str]]]:
    """Tokens in the letters of the byte alphabet, and the merges that make them.

    A character is merged from its first byte on, a word from its first character on. So no merge
    begins inside a character, and characters come before words.
    """
    letters = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def spelled(text: str) -> str:
        return letters.pre_tokenize_str(text)[0][0]

    vocabulary = dict.fromkeys(sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    merges: dict[tuple[str, str], None] = {}

    def merge(parts: list[str]) -> None:
        whole = parts[0]
        for part in parts[1:]:
            merges.setdefault((whole, part))
            whole += part
            vocabulary.setdefault(whole)

    for character in dict.fromkeys("".join(WORDS)):
        merge(list(spelled(character)))
    for word in WORDS:
        merge([spelled(character) for character in word])
    return {token: index for index, token in enumerate(vocabulary)}, [list(m) for m in merges]


def _edit(path: Path, **fields: Any) -> None:
    stated = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(stated | fields, indent=2, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    print(write_multilingual_qwen2(parser.parse_args().directory))


if __name__ == "__main__":
    main()
