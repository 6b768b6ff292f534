"""The base of every value: frozen, and closed against unknown fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """An immutable value whose fields are validated once, where it enters."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
