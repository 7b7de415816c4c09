"""Request objects that are distinguished by their type field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from collections.abc import Mapping


def only_types(
    *supported: str, default: str | None = None, hints: Mapping[str, str] | None = None
) -> BeforeValidator:
    """Refuses an object of another type by name, with a hint if there is one.

    default: the type of an object with a role and no type.
    """
    *first, last = supported
    listed = f"{', '.join(first)} or {last}" if first else last

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if default is not None and "role" in value and value.get("type") is None:
            return value | {"type": default}
        kind = value.get("type")
        if kind in supported:
            return value
        wanted = f"of type {listed}"
        if isinstance(kind, str):
            hint = (hints or {}).get(kind)
            wanted += f", not {kind[:64]}" + (f": {hint}" if hint else "")
        raise PydanticCustomError("unsupported", "must be {wanted}", {"wanted": wanted})

    return BeforeValidator(check)
