"""How a field is drawn where its type and bounds do not say it: what is usual of it, and what of that is mild."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Drawn:
    """Stands in a field's `Annotated` beside its type; it narrows what is drawn, never what is allowed.

    `least` and `most` stand for bounds that the field leaves open, or sets far beyond what a run can show. `milder`
    says which way the harm gets less, and is where shrinking goes. `among` lists the only values that are drawn, the
    mildest first.
    """

    least: float | None = None
    most: float | None = None
    milder: Literal["less", "more"] = "less"
    among: tuple[Any, ...] = ()
