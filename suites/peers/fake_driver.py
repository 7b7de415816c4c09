"""An engine of a comparison that computes nothing: its name says what it does.

FAKE_ENGINE is a text of JSON: rate, tokens a second; fails, prompts longer than that are refused;
dies, prompts longer than that end the process; lazy, one token too few is made; missing, a module.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "drivers"))
from engine_driver import Setup, serve

STATED: dict[str, Any] = json.loads(os.environ["FAKE_ENGINE"])


class Fake:
    def __init__(self, stated: Setup) -> None:
        print("words of the engine", stated["max_model_len"])  # no answer, so on no answers' stream
        if "does_not_start" in STATED:
            raise RuntimeError(STATED["does_not_start"])

    @property
    def setup(self) -> Setup:
        return {"version": "1.2.3", "rate": STATED.get("rate")}

    def generate(self, prompts: list[list[int]], max_tokens: list[int]) -> list[int]:
        longest = max(map(len, prompts))
        if longest > STATED.get("dies", longest):
            sys.exit("out of memory")
        if longest > STATED.get("fails", longest):
            msg = f"a prompt of {longest} is too long"
            raise ValueError(msg)
        tokens = sum(max_tokens) + sum(map(len, prompts)) / 100
        time.sleep(tokens / STATED.get("rate", 1e6))
        return [count - ("lazy" in STATED) for count in max_tokens]


if __name__ == "__main__":
    serve(Fake, packages=tuple(filter(None, [STATED.get("missing")])))
