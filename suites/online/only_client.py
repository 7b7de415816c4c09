"""An engine that exposes only the EngineClient protocol to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from stagegate.serving.client import EngineClient

if TYPE_CHECKING:
    from stagegate.async_llm import AsyncLLM

MEMBERS = frozenset(name for name in vars(EngineClient) if not name.startswith("_"))


class _OnlyClient:
    def __init__(self, llm: AsyncLLM) -> None:
        self._llm = llm

    def __getattr__(self, name: str) -> Any:
        if name not in MEMBERS:
            msg = f"the server asks for {name!r}, which EngineClient does not have"
            raise AttributeError(msg)
        return getattr(self._llm, name)


def only_client(llm: AsyncLLM) -> EngineClient:
    """An AsyncLLM without the members that only an in-process engine has."""
    return cast("EngineClient", _OnlyClient(llm))
