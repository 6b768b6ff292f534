"""What fields may be drawn as: within their bounds, those that are exclusive too."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

from chaos.drawn import Drawn
from chaos.strategies.fields import Surroundings, options_of
from chaos.value import Value


class Bounded(Value):
    """Bounds of all kinds."""

    above: int = Field(gt=2)
    below: int = Field(ge=0, lt=4)
    between: int = Field(gt=1, lt=4)
    share: float = Field(gt=0.0, lt=1.0)
    wide: float = Field(gt=10.0, lt=20.0)
    long_s: float = Field(gt=30.0, le=600.0)
    brief_s: float = Field(gt=0.0, lt=0.05)
    narrowed: Annotated[float, Drawn(least=2.0, most=3.0)] = Field(gt=1.0, lt=4.0)


OPTIONS = options_of(Bounded, Surroundings(node_types=("gpu",), horizon_s=20.0))


@pytest.mark.parametrize("name", Bounded.model_fields)
def test_what_is_drawn_is_within_the_bounds(name: str) -> None:
    first = {field: options[0] for field, options in OPTIONS.items()}
    assert OPTIONS[name]
    for option in OPTIONS[name]:
        Bounded.model_validate({**first, name: option})


def test_whole_numbers_reach_their_bounds_and_no_further() -> None:
    assert OPTIONS["below"] == (0, 1, 2, 3)
    assert OPTIONS["between"] == (2, 3)
    assert OPTIONS["above"][0] == 3
    assert (OPTIONS["narrowed"][0], OPTIONS["narrowed"][-1]) == (2.0, 3.0)
