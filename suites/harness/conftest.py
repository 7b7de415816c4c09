"""A small project of its own for the harness to run in, and a CUPTI that is none."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from suites.harness import kernel_trace
from suites.harness.fake_cupti import FakeCupti

UseCupti = Callable[..., FakeCupti]

STAGES = """
[stage0]
title = "First"
suites = ["core"]
[stage0.criteria]
"s0.one" = "one works"
"s0.two" = "two works"

[stage1]
title = "Second"
suites = ["ops"]
[stage1.criteria]
"s1.one" = "ops work"
"""


class Project:
    """A project with stages, a checkpoint and the tests it is given."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.path = pytester.path
        model = pytester.mkdir("suites") / "models" / "tiny-qwen2"
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}")
        (model / "model.safetensors").write_bytes(b"")
        (self.path / "suites" / "stages.toml").write_text(STAGES)

    def add_test(self, path: str, source: str) -> None:
        file = self.path / "suites" / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"import pytest\n\n{source}")

    def run(self, *arguments: str) -> pytest.RunResult:
        return self._pytester.runpytest_inprocess(
            "-p", "suites.harness.plugin", "-p", "no:cacheprovider", "-rs", "-v", *arguments
        )


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    # The harness stands on no other plugin, and each costs an inner run a second.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return Project(pytester)


@pytest.fixture
def use_cupti(monkeypatch: pytest.MonkeyPatch) -> Iterator[UseCupti]:
    """Call it with the records that the next trace is to have."""

    def use(*records: SimpleNamespace) -> FakeCupti:
        cupti = FakeCupti(*records)
        monkeypatch.setattr(kernel_trace, "_load", lambda: cupti)
        return cupti

    # CUPTI is attached once in a process; each test is one.
    kernel_trace._collector.cache_clear()
    yield use
    kernel_trace._collector.cache_clear()
