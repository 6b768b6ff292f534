"""Nodes and processes in name only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

from chaos.cluster import (
    Node,
    NodeProcess,
)
from chaos.harm import (
    Role,
)


class FakeProcess:
    """A program whose lines and status are given; with `hangs` it ends only when stopped."""

    def __init__(self, lines: list[str], *, status: int = 0, hangs: bool = False) -> None:
        self._lines = lines
        self._status = status
        self._stopped = asyncio.Event()
        self.was_stopped = False
        if not hangs:
            self._stopped.set()

    async def lines(self) -> AsyncIterator[str]:
        """The given lines; each may wait for what a test does between them."""
        for line in self._lines:
            await asyncio.sleep(0)
            yield line
        await self._stopped.wait()

    async def wait(self) -> int:
        """The given status."""
        await self._stopped.wait()
        return self._status

    async def stop(self) -> None:
        """Ends it."""
        self.was_stopped = True
        self._stopped.set()


def node_named(
    name: str, *, node_type: str = "gpu", state: Literal["pending", "running", "paused", "stopping"] = "running"
) -> Node:
    """A node; the head is of its own type."""
    return Node(
        node=name,
        node_type="head" if name == "head" else node_type,
        state=state,
        instance="head" if name == "head" else f"i-{int(name[1:]):05d}",
    )


def processes_on(name: str) -> list[NodeProcess]:
    """What runs on a node of Ray's: on the head with the control plane and a job's driver."""
    titles: list[tuple[Role | Literal[""], str]] = [
        ("", "ray start --block"),
        ("raylet", "/ray/raylet --node"),
        ("dashboard_agent", "ray::DashboardAgent"),
        ("runtime_env_agent", "ray::RuntimeEnvAgent"),
        ("worker", "ray::IDLE"),
        ("worker", "ray::predict_rows"),
        ("worker", "ray::Predictor.predict"),
    ]
    if name == "head":
        titles += [("gcs_server", "/ray/gcs_server"), ("monitor", "python monitor.py"), ("driver", "python -m job")]
    first = 100 if name == "head" else 1000 * int(name[1:])
    return [
        NodeProcess(pid=first + place, started_ticks=place, role=role, title=title)
        for place, (role, title) in enumerate(titles)
    ]
