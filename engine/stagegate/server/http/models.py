"""The models of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stagegate.errors import ConfigError, EngineDeadError, InvalidRequestError
from stagegate.server.http.errors import ModelNotFoundError

if TYPE_CHECKING:
    from stagegate.serving.client import EngineClient


@dataclass(frozen=True, slots=True)
class ServedModel:
    name: str
    client: EngineClient


class ServedModels(Mapping[str, ServedModel]):
    """Models by name. Raises ConfigError if there is none.

    After `close` it has no models, and every access raises EngineDeadError.
    """

    def __init__(self, models: Mapping[str, EngineClient]) -> None:
        if not models:
            msg = "a server needs at least one model"
            raise ConfigError(msg)
        self._open: dict[str, ServedModel] | None = {
            name: ServedModel(name, client) for name, client in models.items()
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
        """End the engines, wait for them, and release them; idempotent."""
        models, self._open = self._open or {}, None
        for model in models.values():
            model.client.close()

    def find(self, name: str | None) -> ServedModel:
        """The model that a request names; raises ModelNotFoundError.

        If there is one model, the name is optional; otherwise its absence is an
        InvalidRequestError.
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
