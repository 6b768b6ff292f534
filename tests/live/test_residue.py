"""Runners that are killed at random moments leave nothing: a small form of `make bench-residue`."""

from __future__ import annotations

import asyncio

import pytest

from tests.bench.residue import residue

KILLS = 25


@pytest.mark.parametrize("kind", ["local", pytest.param("compose", marks=pytest.mark.compose)])
async def test_killed_runners_leave_nothing_behind(kind: str) -> None:
    told = await asyncio.to_thread(residue, kind, KILLS, 7)
    assert told["left"] == [], told
