"""Every error the engine raises on purpose.

StagegateError
├── ShapeError, DTypeError, ContiguityError, ArgumentError, OutOfMemoryError
│       raised by the native core
├── DeviceError, raised by the native core too
│   └── DeviceLostError
├── InvalidRequestError (also a ValueError)
│   └── CapacityError
├── ConfigError (also a ValueError)
├── ModelError
│   └── TokenizerError
├── NotBuiltError, MissingPackageError (also ImportErrors)
├── QueueFullError
└── EngineDeadError
"""

from __future__ import annotations


class StagegateError(Exception):
    """Base of all errors of the engine."""


class ShapeError(StagegateError):
    """A tensor has the wrong rank or dimensions."""


class DTypeError(StagegateError):
    """A tensor has the wrong element type."""


class DeviceError(StagegateError):
    """A tensor lives on the wrong device, or a device cannot do what was asked."""


class DeviceLostError(DeviceError):
    """A device failed for good: no engine of this process can use it any more."""


class ContiguityError(StagegateError):
    """A tensor is strided where contiguous memory is needed."""


class ArgumentError(StagegateError):
    """A value passed to the native core is out of its range."""


class OutOfMemoryError(StagegateError):
    """A device could not allocate the memory asked for."""


class InvalidRequestError(StagegateError, ValueError):
    """A request asks for something that is not valid; `parameter` names the field at fault."""

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class CapacityError(InvalidRequestError):
    """A request can never fit into the configured memory or lengths."""


class ConfigError(StagegateError, ValueError):
    """The engine's configuration is not valid."""


class ModelError(StagegateError):
    """A checkpoint cannot be loaded."""


class TokenizerError(ModelError):
    """A tokenizer cannot be loaded."""


class NotBuiltError(StagegateError, ImportError):
    """The native core is not there, or was built for another Python."""


class MissingPackageError(StagegateError, ImportError):
    """A Python package is not installed that what was asked for needs."""


class QueueFullError(StagegateError):
    """Too many requests wait already; the same request may be sent again later."""


class EngineDeadError(StagegateError):
    """The engine loop has ended; no request can be served any more."""
