"""Arguments of a call in the history of a conversation, for any chat template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class CallArguments(dict[str, Any]):
    """The arguments as a dict that is also usable as their original JSON (text).

    Templates that serialise arguments or iterate over them see a dict; templates that join them to
    strings see the text.
    """

    def __init__(self, members: Mapping[str, Any], text: str) -> None:
        super().__init__(members)
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __add__(self, other: object) -> str:
        return self._text + other if isinstance(other, str) else NotImplemented

    def __radd__(self, other: object) -> str:
        return other + self._text if isinstance(other, str) else NotImplemented
