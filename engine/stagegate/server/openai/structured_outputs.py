"""Grammars of a request; errors name the field of the request that asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagegate.errors import InvalidRequestError

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
    except ImportError as error:
        msg = f"{field}: this server cannot matcher what a model writes: {error}"
        raise InvalidRequestError(msg, parameter=field) from error
    except InvalidRequestError as error:
        reason = str(error).removeprefix("grammar: ")
        raise InvalidRequestError(f"{field}: {reason}", parameter=field) from error
