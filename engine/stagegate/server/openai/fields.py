"""Base classes of all request bodies."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Fields(BaseModel):
    """An object of a request: types are exact, unknown fields are refused unless they are null."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_out_unknown_nulls(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or None not in fields.values():
            return fields
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {name: value for name, value in fields.items() if value is not None or name in known}


class OpenFields(Fields):
    """An object that clients send back, or that other servers have more fields of: those are
    ignored."""

    model_config = ConfigDict(extra="ignore")
