"""Special tokens, from tokenizer_config.json and from the files of older checkpoints."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stagegate.errors import ModelError, TokenizerError
from stagegate.models.json_object import JsonObject

_logger = logging.getLogger(__name__)

FILE_NAME = "tokenizer_config.json"
SPECIAL_TOKENS_MAP_FILE_NAME = "special_tokens_map.json"
ADDED_TOKENS_FILE_NAME = "added_tokens.json"

_NAMES: Final = (
    *("bos_token", "eos_token", "unk_token", "sep_token"),
    *("pad_token", "cls_token", "mask_token"),
)
_EXTRA: Final = (
    *("extra_special_tokens", "additional_special_tokens", "model_specific_special_tokens"),
)
# Defaults of Hugging Face's tokenizer class for absent keys. null means no token.
_DEFAULT_TOKENS: Final = dict.fromkeys(("eos_token", "pad_token", "unk_token"), "<|endoftext|>")
_FLAGS: Final = ("single_word", "lstrip", "rstrip", "normalized", "special")

# Unsupported keys that would change the tokens or the text, with the values that change nothing.
_NEUTRAL: Final[dict[str, tuple[object, ...]]] = {
    "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": (False,),
    "fast_tokenizer_files": ([], ["tokenizer.json"]),
}
_READ: Final = frozenset((
    "add_bos_token", "add_eos_token", "add_prefix_space", "added_tokens_decoder",
    "chat_template", "split_special_tokens", *_EXTRA,
))  # fmt: skip
# Keys that change nothing here; docs/checkpoints.md has the reasons.
_IRRELEVANT: Final = frozenset((
    "_commit_hash", "auto_map", "backend", "clean_up_tokenization_spaces", "device_map", "errors",
    "files_loaded", "from_slow", "init_inputs", "is_local", "legacy", "local_files_only",
    "max_len", "max_length", "merges_file", "model_input_names", "model_max_length",
    "name_or_path", "pad_to_multiple_of", "pad_token_type_id",
    "padding", "padding_side", "processor_class", "response_schema", "response_template",
    "sp_model_kwargs", "special_tokens_map_file", "stride", "tokenizer_class", "tokenizer_file",
    "truncation", "truncation_side", "truncation_strategy", "unk_id", "use_default_system_prompt",
    "use_fast", "verbose", "vocab_file",
))  # fmt: skip
KNOWN_KEYS: Final = _READ | _IRRELEVANT | _NEUTRAL.keys() | frozenset(_NAMES)


@dataclass(frozen=True, slots=True)
class TokenizerConfig:
    """The settings of a tokenizer outside tokenizer.json.

    stated: tokenizer_config.json, empty if there is none.
    named_tokens: eos_token, bos_token and so on to their text, with Hugging Face's defaults.
    stated_names: the `named_tokens` that a file states.
    extra_special_tokens: special tokens without a name.
    added_tokens: id to its entry, in the format of `added_tokens` in tokenizer.json.
    """

    stated: JsonObject
    named_tokens: dict[str, str]
    stated_names: frozenset[str]
    extra_special_tokens: tuple[str, ...]
    added_tokens: dict[int, dict[str, Any]]

    @classmethod
    def read(cls, model: Path) -> TokenizerConfig:
        """The files in the checkpoint folder `model`.

        As in Hugging Face, special_tokens_map.json and added_tokens.json are used if
        tokenizer_config.json has no added_tokens_decoder; the first then overrides it.
        Raises TokenizerError naming file, key and value.
        """
        try:
            return cls._read(model)
        except ModelError as error:
            raise TokenizerError(str(error)) from error

    @classmethod
    def _read(cls, model: Path) -> TokenizerConfig:
        stated = _read_optional(model / FILE_NAME)
        for key, values in _NEUTRAL.items():
            if key in stated and stated.value(key) not in values:
                raise stated.error(key, "is not supported")
        files = [stated]
        if "added_tokens_decoder" not in stated:
            files.append(_read_optional(model / SPECIAL_TOKENS_MAP_FILE_NAME))
        names: dict[str, str | None] = {}
        extra: list[str] = []
        for file in files:
            named, unnamed = _special_tokens(file)
            names |= named
            extra += unnamed
        if "added_tokens_decoder" in stated:
            added = _added_tokens_decoder(stated.nested("added_tokens_decoder"))
        else:
            legacy = _read_optional(model / ADDED_TOKENS_FILE_NAME)
            added = _legacy_added_tokens(legacy, {*extra, *names.values()})
        tokens = _DEFAULT_TOKENS | names
        ordered = {name: tokens[name] for name in (*_NAMES, *names) if name in tokens}
        return cls(
            stated=stated,
            named_tokens={name: text for name, text in ordered.items() if text is not None},
            stated_names=frozenset(names),
            extra_special_tokens=tuple(dict.fromkeys(extra)),
            added_tokens=added,
        )

    @property
    def has_decoder(self) -> bool:
        """Whether added_tokens_decoder overrides the older files."""
        return "added_tokens_decoder" in self.stated

    def log_unread(self) -> None:
        """Warn of unknown keys of tokenizer_config.json and of tokens in unused older files."""
        self.stated.log_unread(KNOWN_KEYS | self.stated_names)
        if not self.has_decoder:
            return
        folder = self.stated.path.parent
        special_map = _read_optional(folder / SPECIAL_TOKENS_MAP_FILE_NAME)
        named, unnamed = _special_tokens(special_map)
        tokens = [name for name, text in named.items() if self.named_tokens.get(name) != text] + [
            text for text in unnamed if text not in self.extra_special_tokens
        ]
        legacy = _read_optional(folder / ADDED_TOKENS_FILE_NAME)
        added = {entry["content"] for entry in self.added_tokens.values()}
        legacy_tokens = [text for text in legacy if text not in added]
        for file, unread in ((special_map, tokens), (legacy, legacy_tokens)):
            if unread:
                _logger.warning(
                    "%s: not read: %s: %s has added_tokens_decoder and rules it out",
                    *(file.path, ", ".join(unread), FILE_NAME),
                )


def _read_optional(path: Path) -> JsonObject:
    return JsonObject.read(path) if path.exists() else JsonObject(path, {})


def _special_tokens(file: JsonObject) -> tuple[dict[str, str | None], list[str]]:
    """Special tokens by name, None where the file says null, and those without a name."""
    named: dict[str, str | None] = {name: None for name in _NAMES if file.is_null(name)}
    unnamed: list[str] = []
    for key in file:
        value = file.value(key)
        # A model may name further tokens.
        if key in _NAMES or (key.endswith("_token") and isinstance(value, str | dict)):
            named[key] = _text_of(file, key, value)
        elif key in _EXTRA and isinstance(value, dict):
            named |= {name: _text_of(file, key, token) for name, token in value.items()}
        elif key in _EXTRA and isinstance(value, list):
            unnamed += [_text_of(file, key, token) for token in value]
        elif key in _EXTRA:
            raise file.error(key, "a list of tokens, or an object that names them, is needed")
    return named, unnamed


def _text_of(file: JsonObject, key: str, token: object) -> str:
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str) or not text:
        raise file.error(key, "a text, or an object with a text as content, is needed")
    return text


def _added_tokens_decoder(decoder: JsonObject) -> dict[int, dict[str, Any]]:
    added: dict[int, dict[str, Any]] = {}
    for key in decoder:
        if not (key.isascii() and key.isdecimal() and len(key) < 11):
            raise decoder.error(key, "added_tokens_decoder is keyed by token ids")
        entry = decoder.nested(key)
        content = _text_of(decoder, key, entry.value("content"))
        special = entry.flag("special", default=False)
        flags = {
            flag: entry.flag(flag, default=flag == "normalized" and not special) for flag in _FLAGS
        }
        added[int(key)] = added_token(int(key), content, **flags)
    return added


def _legacy_added_tokens(file: JsonObject, special: set[str | None]) -> dict[int, dict[str, Any]]:
    added: dict[int, dict[str, Any]] = {}
    for text in file:
        token_id = file.integer(text, at_least=0)
        if token_id in added:
            raise file.error(text, f"{added[token_id]['content']!r} has the same id")
        added[token_id] = added_token(
            token_id, text, special=text in special, normalized=text not in special
        )
    return added


def added_token(token_id: int, content: str, **flags: bool) -> dict[str, Any]:
    """An entry of `added_tokens` in tokenizer.json; missing flags are false."""
    return {"id": token_id, "content": content, **{flag: flags.get(flag, False) for flag in _FLAGS}}
