"""The packages that only the server needs: the extra `server` of the project.

Standard library only, because the doctor lists them before anything is installed.
"""

from __future__ import annotations

from importlib import import_module

from stagegate.errors import ConfigError

HOW_TO_INSTALL = "pip install '.[server]' (nox -s serve does)"

# Names in pip and in Python. Optional ones: without uvloop, uvicorn uses asyncio's loop; without
# llguidance, requests that need it are refused.
REQUIRED = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "httptools": "httptools",
    "pydantic": "pydantic",
    "prometheus-client": "prometheus_client",
}
OPTIONAL = {"uvloop": "uvloop", "llguidance": "llguidance"}


def check_packages() -> None:
    """Raises ConfigError naming missing packages and the command that installs them."""
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
