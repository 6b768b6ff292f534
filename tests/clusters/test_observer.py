"""The observer goes on when the process that asks the GCS dies, and the history says for how long nobody looked."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaos.clock import RealClock
from chaos.cloud.client import CloudClient
from chaos.cluster import Node
from chaos.clusters import observer
from chaos.clusters.observer import Observer
from chaos.events import ClusterSampled, Event, NodeDied, NodeJoined
from chaos.history import Recorder
from tests.doubles import node_named

LIMIT_S = 20.0
NODE = {
    "ray_node_id": "r-head", "instance": "head", "node_type": "head", "status": "idle", "idle_s": 0.0,
    "total": {"CPU": 1.0}, "available": {"CPU": 1.0},
}  # fmt: skip
LOST = {"shape": {"CPU": 1.0}, "count": 1, "source": "placement_group", "apart": True, "not_on": ["head", "unknown"]}
SAMPLE = {"reachable": True, "nodes": [NODE], "demands": [LOST]}
# Each life is a line in a file; the first ends in the middle of a line, the next stays until its input ends.
SAMPLER = f"""
import os, sys
lives = sys.argv[1]
with open(lives, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
print({json.dumps(SAMPLE)!r}, flush=True)
if len(open(lives).readlines()) == 1:
    sys.stdout.write('{{"reachable": true, "nod')
    sys.stdout.flush()
    os._exit(1)
sys.stdin.read()
"""


class Listener(CloudClient):
    """A Cloud with a head, where nothing ever happens."""

    def __init__(self) -> None:
        """Connects to nothing."""

    async def nodes(self) -> tuple[Node, ...]:
        """The head."""
        return (node_named("head"),)

    async def renumber(self) -> int:
        """No events yet."""
        return 0

    async def events(self, after: int) -> AsyncIterator[tuple[float, Event]]:
        """None, ever."""
        await asyncio.Event().wait()
        yield 0.0, NodeDied(node="never", ray_node_id="never")


async def test_a_sampler_that_dies_is_started_again_and_the_gap_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = tmp_path / "lives"
    monkeypatch.setattr(observer, "sampler_command", lambda _: (sys.executable, "-c", SAMPLER, str(lives)))
    monkeypatch.setattr(observer, "_LEAST_PAUSE_S", 0.05)
    recorder = Recorder(None, RealClock())
    watching = Observer(Listener(), gcs_address="nowhere", environment=os.environ)
    await watching.attach(recorder, monitor_log=lambda: None)
    watching.open()

    def seen() -> list[bool]:
        return [sample.reachable for _, sample in recorder.of(ClusterSampled)]

    try:
        # Nobody has looked yet; the first life; the gap; the second life.
        await asyncio.wait_for(recorder.until(lambda _: seen() == [False, True, False, True]), LIMIT_S)
        assert watching.head_alive()
        pids = [int(line) for line in lives.read_text().splitlines()]
        assert len(pids) == 2
        assert [event.ray_node_id for _, event in recorder.of(NodeJoined)] == ["r-head"]
        assert not recorder.of(NodeDied), "a gap is no death"
        assert [demand.not_on for _, sample in recorder.of(ClusterSampled) for demand in sample.demands][-1] == (
            "head",
        )
    finally:
        await watching.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_sampler_that_cannot_live_is_tried_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    enough = asyncio.Event()

    async def sleep(duration_s: float) -> None:
        pauses.append(duration_s)
        if len(pauses) == 6:
            enough.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(observer, "sampler_command", lambda _: ("false",))
    monkeypatch.setattr(asyncio, "sleep", sleep)
    watching = Observer(Listener(), gcs_address="nowhere", environment=os.environ)
    watching.open()
    await asyncio.wait_for(enough.wait(), LIMIT_S)
    await watching.close()
    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert not watching.head_alive()
