"""Which parametrised cases the axis options leave in.

A test takes part in an axis by a parameter of its name (layout, backend, dtype, device), be it from
a fixture of the harness or from its own parametrize; a test without it runs whatever the option.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from suites.harness.options import Settings


def is_selected(item: pytest.Item, settings: Settings) -> bool:
    params: Mapping[str, object] = getattr(getattr(item, "callspec", None), "params", {})
    if params.get("layout") == "slot" and params.get("backend") == "native":
        # Slots have no block tables: this would be the csr case under another name.
        return False
    wanted = {
        "layout": settings.layout,
        "backend": settings.backend,
        "dtype": settings.dtype,
        "device": settings.device,
    }
    if any(
        value is not None and params.get(axis, value) != value for axis, value in wanted.items()
    ):
        return False
    switches = {"parity": settings.run_parity, "requires_hf": settings.run_hf}
    return not any(
        run == "never" and item.get_closest_marker(marker) for marker, run in switches.items()
    )
