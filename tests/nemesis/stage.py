"""A nemesis on a fake cluster for tests, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import faults
from chaos.blast_radius import BlastRadius
from chaos.events import (
    Event,
    NodeJoined,
    NodeLaunching,
    WorkloadProgressed,
    WorkloadStarted,
)
from chaos.fault import FaultCatalogue
from chaos.history import Recorder
from chaos.nemesis import Nemesis
from chaos.schedule import Schedule
from tests.doubles import FakeCluster, Scripted, ScriptedLaunch, VirtualClock, settle

CATALOGUE: FaultCatalogue = {**faults.ALL, "scripted": Scripted, "scripted_launch": ScriptedLaunch}
STARTED = WorkloadStarted(workload="toy", rows_total=100)


def joined(node: str) -> NodeJoined:
    return NodeJoined(node=node, node_type="gpu", ray_node_id=f"r-{node}", resources={})


class Stage:
    """A nemesis on a fake cluster, whose clock and history a test drives."""

    def __init__(
        self, *injections: dict[str, Any], seed: int = 1, workers: int = 3, blast_radius: BlastRadius | None = None
    ) -> None:
        self.clock = VirtualClock()
        self.cluster = FakeCluster(self.clock, workers=workers)
        self.recorder = Recorder(None, self.clock)
        for ordinal in range(1, workers + 1):
            self.recorder.append(joined(f"w{ordinal}"))
        schedule = Schedule.from_data(list(injections), CATALOGUE)
        self.nemesis = Nemesis(
            schedule,
            self.cluster,
            self.recorder,
            run_id="run",
            seed=seed,
            blast_radius=blast_radius or BlastRadius(),
        )
        self.running = asyncio.ensure_future(self.nemesis.run())

    async def play(self, *events: tuple[float, Event]) -> None:
        """Lets each event happen at its time."""
        for t_s, event in events:
            await self.clock.advance_to(t_s)
            self.recorder.append(event)
            await settle()

    async def end(self, at_s: float | None = None) -> None:
        """The load ends, and with it the nemesis."""
        if at_s is not None:
            await self.clock.advance_to(at_s)
        self.nemesis.finish()
        await self.clock.run(self.running)

    def one(self, kind: type[Any], injection: str = "i1") -> Any:
        """The only event of a class for an injection."""
        found = [event for _, event in self.recorder.of(kind) if event.injection == injection]
        assert len(found) == 1, found
        return found[0]

    def none(self, kind: type[Any]) -> bool:
        """Whether there is no event of a class."""
        return not self.recorder.of(kind)


def kill(**changes: object) -> dict[str, Any]:
    return {"fault": "kill_node", "target": "w1", "at_s": 0.0} | changes


def harm(**changes: object) -> dict[str, Any]:
    return {"fault": "scripted", "target": "w1", "at_s": 0.0, "duration_s": 4.0} | changes


def progressed(rows: int) -> WorkloadProgressed:
    return WorkloadProgressed(rows_done=rows, rows_total=100)


def launching(node: str, node_type: str = "gpu") -> NodeLaunching:
    return NodeLaunching(node=node, node_type=node_type, request="r")


def slow_network(**changes: object) -> dict[str, Any]:
    return {"fault": "throttle_network", "rate_mbit": 5.0, "target": "w1", "at_s": 1.0, "duration_s": 4.0} | changes
