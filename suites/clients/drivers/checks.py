"""Runs the checks of one client and reports each as a line of JSON."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from importlib.metadata import version

URL = os.environ["STAGEGATE_URL"]  # with /v1
MODEL = os.environ["STAGEGATE_MODEL"]
MODEL_PATH = os.environ["STAGEGATE_MODEL_PATH"]  # its tokenizer, for clients that count tokens
QUESTION = "Who wrote this book?"

_CHECKS: list[Callable[[], object]] = []


def check(function: Callable[[], object]) -> Callable[[], object]:
    """Register a check: it passes when it returns."""
    _CHECKS.append(function)
    return function


def run(*packages: str) -> None:
    """Run every check. packages: whose versions are reported."""
    print(json.dumps({"versions": {name: version(name) for name in packages}}))
    for function in _CHECKS:
        error = None
        try:
            function()
        except Exception:
            error = traceback.format_exc()
        print(json.dumps({"check": function.__name__, "error": error}), flush=True)
