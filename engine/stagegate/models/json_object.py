"""Strict reading of a checkpoint's JSON files; errors name the file, the key and the value."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from stagegate.errors import ModelError

_logger = logging.getLogger(__name__)

# Sizes and token ids reach the operators as 32-bit integers.
_MAX_INTEGER: Final = 2**31 - 1


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object in `text`.

    Raises ValueError for anything else: bad JSON or UTF-8, a repeated key (RFC 8259 does not define
    its meaning, so two readers may load two models), NaN or Infinity, an array or a scalar.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is needed, not {type(value).__name__}")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {repeated!r} appears twice")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class JsonObject:
    """Typed access to the members of one JSON file; a missing or ill-typed one is a ModelError.

    A null member counts as absent, because Hugging Face writes null for "not set". `default` is the
    value of an absent member; without a default the member is required.
    """

    def __init__(self, path: Path, members: dict[str, Any]) -> None:
        self.path = path
        self._members = members

    @classmethod
    def read(cls, path: Path) -> JsonObject:
        try:
            return cls(path, parse_object(path.read_bytes()))
        except FileNotFoundError:
            raise ModelError(f"{path}: no such file") from None
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read: {error}") from error

    def __contains__(self, key: str) -> bool:
        return self._members.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._members if key in self)

    def error(self, key: str, problem: str) -> ModelError:
        """The error to raise when the value of `key` cannot be used."""
        return ModelError(f"{self.path}: {key} = {self._members.get(key)!r}: {problem}")

    def value(self, key: str) -> Any:
        if key not in self:
            raise ModelError(f"{self.path}: key {key!r} is missing")
        return self._members[key]

    def is_null(self, key: str) -> bool:
        """Whether the value is null, for keys where that differs from an absent key."""
        return key in self._members and self._members[key] is None

    def log_unread(self, known: Collection[str]) -> None:
        """Warn of keys that are not in `known` and therefore have no effect."""
        unread = sorted(set(self) - set(known))
        if unread:
            _logger.warning("%s: not read: %s", self.path, ", ".join(unread))

    def integer(
        self, key: str, *, at_least: int, at_most: int = _MAX_INTEGER, default: int | None = None
    ) -> int:
        if default is not None and key not in self:
            return default
        value = self.value(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(key, "an integer is needed")
        if not at_least <= value <= at_most:
            raise self.error(key, f"an integer from {at_least} to {at_most} is needed")
        return value

    def number(self, key: str, *, default: float | None = None) -> float:
        if default is not None and key not in self:
            return default
        value = self.value(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number):
                return number
        raise self.error(key, "a finite number is needed")

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.value(key) if key in self else default
        if not isinstance(value, bool):
            raise self.error(key, "true or false is needed")
        return value

    def string(self, key: str) -> str:
        value = self.value(key)
        if not isinstance(value, str):
            raise self.error(key, "a string is needed")
        return value

    def nested(self, key: str) -> JsonObject:
        value = self.value(key)
        if not isinstance(value, dict):
            raise self.error(key, "an object is needed")
        return JsonObject(self.path, value)

    def token_ids(self, key: str) -> tuple[int, ...]:
        """A token id or a list of them; empty when absent."""
        value = self._members.get(key)
        ids = [] if value is None else value if isinstance(value, list) else [value]
        for token in ids:
            if type(token) is not int or not 0 <= token <= _MAX_INTEGER:
                raise self.error(key, "a token id or a list of token ids is needed")
        return tuple(dict.fromkeys(ids))
