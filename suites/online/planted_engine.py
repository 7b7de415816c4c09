"""The engine's command with a planted slowdown: python -m suites.online.planted_engine SHARE ...

The arguments after SHARE are those of stagegate.
"""

from __future__ import annotations

import sys

from stagegate.__main__ import main
from suites.adapter.slow_engine import slow_engine

if __name__ == "__main__":
    with slow_engine(float(sys.argv[1])):
        sys.exit(main(sys.argv[2:]))
