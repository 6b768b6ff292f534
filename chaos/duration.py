"""Durations as people write them: 90s, 10m, 2h, 30d."""

from __future__ import annotations

import re

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float:
    """The seconds of a duration.

    Raises:
        ValueError: it is none, or nothing can be done in it.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None or float(found[1]) == 0.0:
        raise ValueError(f"{text!r} is no duration: use a number above 0 with s, m, h or d, such as 90s, 10m or 2h")
    return float(found[1]) * _UNITS_S[found[2]]
