"""What to say about a name nobody knows: the allowed ones, and the nearest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown_name(what: str, given: str, allowed: Iterable[str]) -> str:
    """A message naming what was given, what is allowed and, if one is near, what may have been meant."""
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {given!r}{hint} (allowed: {', '.join(names)})"
