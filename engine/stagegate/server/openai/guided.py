"""What guides generation, named by the field of a request that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagegate.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagegate.structured.guidance import Guidance


def guided_by(field: str, make: Callable[[type[Guidance]], Guidance]) -> Guidance:
    """What `make` makes; raises InvalidRequestError with the name of the field.

    The library behind it is loaded by the first request that needs it, and may be missing.
    """
    try:
        from stagegate.structured.guidance import Guidance

        return make(Guidance)
    except ImportError as error:
        msg = f"{field}: this server cannot guide what a model writes: {error}"
        raise InvalidRequestError(msg, parameter=field) from error
    except InvalidRequestError as error:
        reason = str(error).removeprefix("guidance: ")
        raise InvalidRequestError(f"{field}: {reason}", parameter=field) from error
