"""Machines and environments as flat lists of facts, and what differs between two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact that is not what it was; None where one side does not have it."""

    name: str
    before: str | None
    after: str | None


def facts(block: BaseModel) -> dict[str, str]:
    """Every field under its dotted name, in words; fields that are None are left out."""
    found: dict[str, str] = {}
    _walk("", block.model_dump(mode="json"), found)
    return found


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Difference, ...]:
    """In the order of the newer side, then what it no longer has."""
    names = dict.fromkeys((*after, *before))
    return tuple(
        Difference(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    )


def _walk(name: str, value: Any, found: dict[str, str]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _walk(f"{name}.{key}" if name else key, inner, found)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _walk(f"{name} {number}", inner, found)
    elif isinstance(value, bool):
        found[name] = "yes" if value else "no"
    elif name.endswith("_bytes") and isinstance(value, int):
        found[name.removesuffix("_bytes")] = f"{value / 2**30:.1f} GiB"
    elif value is not None:
        found[name] = str(value)
