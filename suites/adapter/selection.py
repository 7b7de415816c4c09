"""Which cases of the engine's suites a run has, and which prove something."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from suites.adapter.options import ENGINE, SOAK_SECONDS, EngineSettings

# How many cases were left out because they are about the checkpoint in the repository.
NUM_OF_TINY_MODEL = pytest.StashKey[int]()


def applies(item: pytest.Item, chosen: bool) -> bool:
    """Whether the full run has a case. What is about the checkpoint in the repository is no part of
    a run of another one: what it would prove is then proved by the tests that apply to that.
    """
    settings = item.config.stash[ENGINE]
    is_other = settings.model_path != settings.recorded_model
    if is_other and item.get_closest_marker("tiny_model") is not None:
        item.config.stash[NUM_OF_TINY_MODEL] += chosen
        return False
    return not (_is_duplicate(item) or _waits_to_be_asked_for(item, settings))


def why_left_out(item: pytest.Item) -> str | None:
    settings = item.config.stash[ENGINE]
    switches = {
        "parity": ("--run-parity", settings.run_parity),
        "requires_hf": ("--run-hf", settings.run_hf),
    }
    for marker, (option, run) in switches.items():
        if run == "never" and item.get_closest_marker(marker):
            return f"left out by {option} never"
    return None


def why_cut_short(item: pytest.Item) -> str | None:
    """Why a soak proves nothing: it is shorter than the one that its criterion is about."""
    seconds = item.config.stash[ENGINE].soak_seconds
    if "soak_seconds" in getattr(item, "fixturenames", ()) and seconds < SOAK_SECONDS:
        return f"cut short by --soak-seconds {seconds}"
    return None


def _is_duplicate(item: pytest.Item) -> bool:
    """Slots have no block tables: slot on native would be the csr case under another name."""
    params = _params(item)
    return params.get("kv_layout") == "slot" and params.get("attention_backend") in (
        "native",
        "flashinfer",
    )


def _waits_to_be_asked_for(item: pytest.Item, settings: EngineSettings) -> bool:
    """What needs FlashInfer: native once more by somebody else's kernels, which few builds have."""
    if settings.attention_backend == "flashinfer":
        return False
    marked = item.get_closest_marker("requires_flashinfer") is not None
    return marked or _params(item).get("attention_backend") == "flashinfer"


def _params(item: pytest.Item) -> Mapping[str, object]:
    params: Mapping[str, object] = getattr(getattr(item, "callspec", None), "params", {})
    return params
