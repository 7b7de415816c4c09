"""A small project of its own for the harness to run in, and a CUPTI that is none."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from stagegate_harness import kernel_trace
from suites.harness.fake_cupti import FakeCupti

# A project of its own, which a test copies.
collect_ignore = ["example"]

ROOT = Path(__file__).parents[2]
# Of a pytest that runs outside the repository.
PYTHONPATH = os.pathsep.join(
    str(ROOT / name) for name in (".", "engine", "suites/harness", "baselines", "reports")
)
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


PYPROJECT = """
[tool.stagegate]
adapter = "suites.adapter.plugin"
[tool.stagegate.devices]
cpu = "cpu"
nvidia = "cuda"
[tool.stagegate.axes]
kv_layout = ["block", "slot"]
attention_backend = ["native", "csr", "flashinfer"]
dtype = ["f32", "f16", "bf16"]
[tool.stagegate.opt_in]
soak = "nox -s soak"
large = "needs gigabytes"
"""


class Project:
    """A project with stages, a checkpoint and the tests it is given."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.path = pytester.path
        for name in ("core", "ops"):
            (self.path / "suites" / name).mkdir(parents=True)
        self.add_checkpoint("suites/models/tiny-qwen2")
        (self.path / "suites" / "stages.toml").write_text(STAGES)
        (self.path / "pyproject.toml").write_text(PYPROJECT)

    def add_checkpoint(self, path: str | Path) -> None:
        """Files with the names of a checkpoint's; an absolute path may lie outside the project."""
        folder = self.path / path
        folder.mkdir(parents=True)
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            (folder / name).touch()

    def add_test(self, path: str, source: str) -> None:
        file = self.path / "suites" / path
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(f"import pytest\n\n{source}")

    def commit(self) -> None:
        """Make it a revision of git's, from which its records come."""
        (self.path / ".gitignore").write_text("record.json\n.*\n__pycache__\n")
        who = ["-c", "user.name=name", "-c", "user.email=name@example.com"]
        for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "all"]):
            subprocess.run(["git", *command], cwd=self.path, check=True, timeout=60)

    def run(self, *arguments: str) -> pytest.RunResult:
        return self._pytester.runpytest_inprocess(
            "-p", "stagegate_harness.plugin", "-p", "no:cacheprovider", "-rs", "-v", *arguments
        )

    def run_process(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A run in a process of its own, with the settings of this repository's pyproject.toml:
        pytest-benchmark wants one."""
        return subprocess.run(
            [
                sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"),
                "--rootdir", str(self.path), "-p", "pytest_benchmark.plugin", "--bench-rounds", "4",
                "--benchmark-max-time", "0", "--benchmark-json", "record.json", *arguments,
            ],
            cwd=self.path, capture_output=True, text=True, check=False, timeout=300,
            env={**os.environ, "PYTHONPATH": PYTHONPATH, **variables},
        )  # fmt: skip


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
