"""Grammars of a request; errors name the field of the request that asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagegate.errors import InvalidRequestError, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagegate.structured.grammar import Grammar


def grammar_by(field: str, make: Callable[[type[Grammar]], Grammar]) -> Grammar:
    """The grammar that `make` returns; raises InvalidRequestError with the name of the field.

    The library behind it is loaded by the first request that needs it, and may be missing.
    """
    try:
        from stagegate.structured.grammar import Grammar

        return make(Grammar)
    except MissingPackageError as error:
        msg = f"{field}: {error}"
        raise InvalidRequestError(msg, parameter=field) from error
    except InvalidRequestError as error:
        reason = str(error).removeprefix("grammar: ")
        raise InvalidRequestError(f"{field}: {reason}", parameter=field) from error
