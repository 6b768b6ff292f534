"""One Cloud with a head, whose clock a test drives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cloud.fake_driver import Sky, on_virtual_time
from tests.doubles import VirtualClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    clock = VirtualClock()
    on_virtual_time(monkeypatch, clock)
    return clock


@pytest.fixture
async def sky(clock: VirtualClock, tmp_path: Path) -> AsyncIterator[Sky]:
    sky = Sky(tmp_path, clock=clock)
    await sky.cloud.resume()
    await sky.cloud.start_head()
    yield sky
    sky.driver.slow_s.clear()
    await sky.cloud.tear_down()
