"""Images are a function of the row id alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.images import halve, make_images

ROW_IDS = st.lists(st.integers(0, 2**40), min_size=1, max_size=12, unique=True)


@given(row_ids=ROW_IDS, side_px=st.sampled_from([4, 6, 16, 64]))
def test_a_row_has_one_image_whatever_batch_it_is_in(row_ids: list[int], side_px: int) -> None:
    together = make_images(np.array(row_ids, dtype=np.int64), side_px=side_px)
    assert together.shape == (len(row_ids), side_px, side_px, 3)
    assert together.dtype == np.uint8
    for place, row_id in enumerate(row_ids):
        np.testing.assert_array_equal(make_images(np.array([row_id]), side_px=side_px)[0], together[place])


@given(row_ids=st.lists(st.integers(0, 2**40), min_size=2, max_size=8, unique=True))
def test_different_rows_have_different_images(row_ids: list[int]) -> None:
    images = make_images(np.array(row_ids, dtype=np.int64), side_px=16)
    assert len({image.tobytes() for image in images}) == len(row_ids)


def test_images_never_change() -> None:
    """Output written by one version must be verifiable by the next."""
    image = make_images(np.array([7]), side_px=8)[0]
    assert image[0, 0].tolist() == GOLDEN_PIXEL
    assert int(image.astype(np.int64).sum()) == GOLDEN_SUM


GOLDEN_PIXEL = [158, 182, 143]
GOLDEN_SUM = 22898


def test_halving_averages_and_puts_channels_first() -> None:
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    halved = halve(images)
    assert halved.shape == (2, 3, 2, 2)
    assert halved.flags.c_contiguous
    expected = images[1, 0:2, 2:4, 1].astype(int).sum() // 4
    assert halved[1, 1, 0, 1] == expected


def test_no_rows_make_no_images() -> None:
    assert halve(make_images(np.zeros(0, dtype=np.int64), side_px=8)).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("value", [0, 255])
def test_halving_keeps_flat_images_flat(value: int) -> None:
    assert np.unique(halve(np.full((1, 8, 8, 3), value, dtype=np.uint8))).tolist() == [value]
