"""Where the operators run: --device and --attention-backend choose, the tests stay the same."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from stagegate._C import Context
from suites.adapter.options import DTYPES

# Products of odd sizes, thousands of them, are not what a GPU's timings are kept for.
os.environ.setdefault("STAGEGATE_CACHE", "off")

# --hypothesis-profile few: for tools that slow each kernel down many times over.
settings.register_profile("few", max_examples=4, deadline=None)


@pytest.fixture
def context(device: str, attention: str) -> Context:
    return Context(device, attention=attention)


@pytest.fixture
def two_threads(device: str, attention: str) -> Context:
    """What is computed must not depend on how many threads share the work."""
    return Context(device, num_threads=2, attention=attention)


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> str:
    """Storage format of the float operands."""
    return str(request.param)
