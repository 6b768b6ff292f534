"""Durations as people write them."""

from __future__ import annotations

import pytest

from chaos.duration import seconds_of


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("1.5m", 90.0), ("2h", 7200.0), ("30d", 2_592_000.0)])
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "0s", "-1m", "1 h", "10min", "m", "1e3s", "infs"])
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="such as 90s, 10m or 2h"):
        seconds_of(text)
