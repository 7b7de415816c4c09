"""The packages a server needs beside those of the engine: the extra `server` of the project.

Standard library only: the doctor lists them before anything is installed.
"""

from __future__ import annotations

from importlib import import_module

from stagegate.errors import ConfigError

HOW_TO_INSTALL = "pip install '.[server]' (nox -s serve does)"

# Names as pip and as Python know them. Those that a server runs without: uvicorn takes asyncio's
# loop for uvloop, and without llguidance requests that need it are refused.
REQUIRED = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "httptools": "httptools",
    "pydantic": "pydantic",
    "prometheus-client": "prometheus_client",
}
OPTIONAL = {"uvloop": "uvloop", "llguidance": "llguidance"}


def check_packages() -> None:
    """Raises ConfigError that names the packages that are missing and how to get them."""
    missing = []
    for package, module in REQUIRED.items():
        try:
            import_module(module)
        except ImportError as error:
            # Where a package is there, what it needs itself may not be.
            missing.append(package if error.name in {None, module} else f"{package} ({error})")
    if missing:
        msg = f"serve needs packages that are missing: {', '.join(missing)}; {HOW_TO_INSTALL}"
        raise ConfigError(msg)
