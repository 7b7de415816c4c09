"""The log of `stagegate serve`: one form for the engine, the server and uvicorn, on stderr.

As a library the engine configures nothing: its loggers, all below "stagegate", are the caller's.
"""

from __future__ import annotations

import logging.config
from typing import Any, Final

LEVELS: Final = ("debug", "info", "warning", "error")


def log_config(level: str, *, access_log: bool) -> dict[str, Any]:
    """As logging.config.dictConfig and uvicorn take it. access_log: a line for every request."""
    own = {"handlers": ["stderr"], "level": level.upper(), "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "stream": "ext://sys.stderr",
            }
        },
        "loggers": {
            "stagegate": own,
            "uvicorn": own,
            # Its parent has the handler.
            "uvicorn.access": {"level": "INFO" if access_log else "WARNING", "propagate": True},
        },
    }


def configure(level: str, *, access_log: bool) -> None:
    """For this process, before anything is loaded."""
    logging.config.dictConfig(log_config(level, access_log=access_log))
