"""What a test needs of the machine, and whether it is here."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from stagegate_harness import kernel_trace
from suites.adapter.options import EngineSettings, attention_of


def check(item: pytest.Item, settings: EngineSettings) -> None:
    """Skip the test with the reason when something it needs is missing; fail where it must run."""
    for name, must_run in _needs(item, settings).items():
        reason = missing(name)
        if reason is None:
            continue
        if must_run or name in settings.require:
            pytest.fail(f"required {name} is missing: {reason}", pytrace=False)
        pytest.skip(reason)


def missing(name: str) -> str | None:
    """Why a requirement is not met and how to meet it; None when it is."""
    if name == "gpu":
        return missing_gpu()
    if name == "cupti":
        return missing_cupti()
    if name == "flashinfer":
        return missing_flashinfer()
    return missing_hf()


def missing_gpu() -> str | None:
    try:
        from stagegate import _C
    except ImportError:
        return "the engine is not built (nox -s build-cuda)"
    from stagegate.errors import DeviceError

    try:
        _C.empty([1], "u8", "cuda")
    except DeviceError as error:
        return f"no GPU: {error}"
    return None


def missing_cupti() -> str | None:
    return kernel_trace.missing()


def missing_flashinfer() -> str | None:
    from stagegate import _C

    if _C.build_info()["flashinfer"] is not None:
        return None
    return "the engine is built without FlashInfer (nox -s build-cuda -- --flashinfer)"


def missing_hf() -> str | None:
    absent = [name for name in ("torch", "transformers") if find_spec(name) is None]
    return f"no {' and no '.join(absent)} (pip install -e '.[parity]')" if absent else None


def _needs(item: pytest.Item, settings: EngineSettings) -> dict[str, bool]:
    """Names of the requirements; True where an option says that the test has to run."""
    fixtures = getattr(item, "fixturenames", ())
    needs: dict[str, bool] = {}
    if item.get_closest_marker("requires_gpu") or (
        "device" in fixtures and settings.device == "cuda"
    ):
        needs["gpu"] = False
    if item.get_closest_marker("requires_cupti"):
        needs |= {"gpu": False, "cupti": False}
    if item.get_closest_marker("requires_flashinfer") or (
        "attention" in fixtures and attention_of(settings) == "flashinfer"
    ):
        needs |= {"gpu": False, "flashinfer": False}
    if item.get_closest_marker("requires_hf"):
        in_parity = item.get_closest_marker("parity") is not None
        needs["hf"] = "always" in (settings.run_hf, settings.run_parity if in_parity else None)
    return needs
