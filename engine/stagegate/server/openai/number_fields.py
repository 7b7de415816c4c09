"""The numeric SamplingParams fields of a body; their ranges are defined only in SamplingParams."""

from __future__ import annotations

from typing import Any

from pydantic import Field, create_model

from stagegate.sampling import ROW_RANGES, Range
from stagegate.server.openai.fields import Fields


def number_field(span: Range) -> Any:
    """A field that is absent, null, or in the range."""
    if span.above:
        return Field(default=None, gt=span.low, le=span.high)
    return Field(default=None, ge=span.low, le=span.high)


_DEFINITIONS: Any = {
    name: (int | None if span.integer else float | None, number_field(span))
    for name, span in ROW_RANGES.items()
}
# Any, for mypy takes no model that is made at run time for a class.
RowFields: Any = create_model(
    "RowFields", __base__=Fields, __doc__="What the core samples a row by.", **_DEFINITIONS
)
