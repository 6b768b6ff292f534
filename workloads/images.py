"""Images that are a pure function of their row id: the same on every node, in any batch, on any attempt."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
RowIds: TypeAlias = NDArray[np.int64]

CHANNELS = 3
_CELLS = 4
_COARSE_STREAM = 1
_NOISE_STREAM = 2


def make_images(row_ids: RowIds, *, side_px: int) -> Bytes:
    """Images of the given rows, shape `(rows, side_px, side_px, 3)`.

    Each is four by four flat cells of colour under fine noise, so that two rows differ both at large and in detail.
    """
    coarse = _random_bytes(row_ids, _CELLS * _CELLS * CHANNELS, stream=_COARSE_STREAM)
    cells = coarse.reshape(-1, _CELLS, _CELLS, CHANNELS)
    cell_of_px = (np.arange(side_px) * _CELLS) // side_px
    flat = cells[:, cell_of_px][:, :, cell_of_px]
    noise = _random_bytes(row_ids, side_px * side_px * CHANNELS, stream=_NOISE_STREAM).reshape(flat.shape)
    images: Bytes = (flat >> 1) + (flat >> 2) + (noise >> 2)
    return images


def halve(images: Bytes) -> Bytes:
    """The preprocessing: each two by two pixels become their mean, and channels come first: `(rows, 3, side, side)`."""
    rows, side_px = images.shape[0], images.shape[1] // 2
    blocks = images.reshape(rows, side_px, 2, side_px, 2, CHANNELS).astype(np.uint16)
    means = (blocks.sum(axis=(2, 4), dtype=np.uint16) >> 2).astype(np.uint8)
    return np.ascontiguousarray(means.transpose(0, 3, 1, 2))


def _random_bytes(row_ids: RowIds, count: int, *, stream: int) -> Bytes:
    """`count` bytes for each row, from SplitMix64 (Steele, Lea and Flood, 2014) run as a counter-based generator."""
    words = -(-count // 8)
    with np.errstate(over="ignore"):
        key = _mix(row_ids.astype(np.uint64) * np.uint64(2) + np.uint64(stream) * np.uint64(0xD1342543DE82EF95))
        counters = np.arange(1, words + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        values = _mix(key[:, np.newaxis] + counters[np.newaxis, :])
    return values.astype("<u8").view(np.uint8).reshape(len(row_ids), words * 8)[:, :count]


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = state ^ (state >> np.uint64(31))
    return mixed
