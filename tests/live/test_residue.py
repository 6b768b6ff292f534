"""Runners that are killed at random moments leave nothing: a small form of `make bench-residue`."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from tests.conftest import ROOT

KILLS = 25
LIMIT_S = 280.0


@pytest.mark.parametrize("kind", ["local", pytest.param("compose", marks=pytest.mark.compose)])
async def test_killed_runners_leave_nothing_behind(kind: str) -> None:
    # A program of its own: what it forks and kills must not be this one.
    command = [sys.executable, "-m", "tests.bench.residue", "--cluster", kind, "--kills", str(KILLS), "--seed", "7"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode == 0
    told = json.loads(out.splitlines()[-1])
    assert told["kills"] == KILLS
    assert told["left"] == [], told
