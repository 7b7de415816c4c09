"""The native core, which a build makes: `_C`."""

from __future__ import annotations

from stagegate.errors import NotBuiltError

try:
    import stagegate._C as _C  # noqa: PLR0402 - the package's own `_C` is this one
except ImportError as error:
    msg = f"the engine is not built for this Python: nox -s build, or pip install . ({error})"
    raise NotBuiltError(msg) from error

__all__ = ["_C"]
