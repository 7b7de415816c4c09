"""python -m suites.peers is nox -s compare."""

from __future__ import annotations

import sys

from suites.peers.command import main

try:
    sys.exit(main())
except KeyboardInterrupt:
    print("interrupted; nothing was recorded", file=sys.stderr)
    sys.exit(130)
