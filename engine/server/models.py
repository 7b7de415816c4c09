"""The models a server answers for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import ConfigError, EngineDeadError, InvalidRequestError
from engine.server.errors import ModelNotFoundError

if TYPE_CHECKING:
    from engine.async_llm import AsyncLLM

# Longer text is tokenised on another thread: it would hold up every stream for milliseconds.
_INLINE_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class ServedModel:
    name: str
    llm: AsyncLLM

    async def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of a text. Raises InvalidRequestError for text that has no UTF-8 form."""
        encode = self.llm.engine.tokenizer.encode
        if len(text) <= _INLINE_CHARACTERS:
            return encode(text, add_special_tokens=add_special_tokens)
        return await asyncio.to_thread(encode, text, add_special_tokens=add_special_tokens)


class ServedModels(Mapping[str, ServedModel]):
    """Models by name. Raises ConfigError when there is none.

    After `close` it has no models, and every access raises EngineDeadError.
    """

    def __init__(self, models: Mapping[str, AsyncLLM]) -> None:
        if not models:
            msg = "a server needs at least one model"
            raise ConfigError(msg)
        self._open: dict[str, ServedModel] | None = {
            name: ServedModel(name, llm) for name, llm in models.items()
        }

    @property
    def _models(self) -> dict[str, ServedModel]:
        if self._open is None:
            msg = "the server has shut down"
            raise EngineDeadError(msg)
        return self._open

    def __getitem__(self, name: str) -> ServedModel:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def close(self) -> None:
        """End the loops, wait for their steps, and let go of the engines; again is harmless."""
        models, self._open = self._open or {}, None
        for model in models.values():
            model.llm.close()

    def find(self, name: str | None) -> ServedModel:
        """The model a request means; raises ModelNotFoundError.

        A request may leave the name out where there is one model; otherwise InvalidRequestError.
        """
        if name is None:
            if len(self._models) > 1:
                msg = f"model is missing; this server has {self._listed()}"
                raise InvalidRequestError(msg, parameter="model")
            return next(iter(self._models.values()))
        if name not in self._models:
            msg = f"no model {name!r}; this server has {self._listed()}"
            raise ModelNotFoundError(msg, parameter="model")
        return self._models[name]

    def _listed(self) -> str:
        return ", ".join(map(repr, self._models))
