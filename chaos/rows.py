"""Sets of row ids as text: ranges in ascending order, such as `0-31,64,66-70`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable


def encode_rows(row_ids: Iterable[int]) -> str:
    """The distinct ids as ranges in ascending order; empty for none."""
    if isinstance(row_ids, range) and row_ids.step == 1 and len(row_ids) > 1:
        return f"{row_ids[0]}-{row_ids[-1]}"
    ordered = sorted(set(row_ids))
    runs = itertools.groupby(enumerate(ordered), key=lambda pair: pair[1] - pair[0])
    spans = [[row_id for _, row_id in run] for _, run in runs]
    return ",".join(str(span[0]) if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans)


def decode_rows(text: str) -> tuple[int, ...]:
    """The ids that `encode_rows` wrote.

    Raises:
        ValueError: the text is no list of ranges of non-negative ids.
    """
    row_ids: list[int] = []
    for span in text.split(",") if text else []:
        first, dash, last = span.partition("-")
        start, stop = int(first), int(last if dash else first)
        if not 0 <= start <= stop:
            raise ValueError(f"{span!r} is no range of row ids; expected `first-last` with 0 <= first <= last")
        row_ids.extend(range(start, stop + 1))
    return tuple(row_ids)
