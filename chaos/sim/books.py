"""The twin's Cloud keeps its books in memory: what ends with the process needs no disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from chaos.clock import monotonic_s
from chaos.cloud.configuring import ConfigurationFile
from chaos.cloud.instances import CloudState, StateFile
from chaos.cloud.journal import Journal
from chaos.cluster_spec import ClusterSpec
from chaos.events import Event

_NOWHERE = Path("/nonexistent")


class State(StateFile):
    """Nothing is saved."""

    def __init__(self) -> None:
        super().__init__(_NOWHERE)

    def load(self) -> CloudState:
        """A fresh one."""
        return CloudState()

    def save(self, state: CloudState) -> None:
        """The ledger has it."""


class Events(Journal):
    """The lifecycle events, for whoever follows."""

    def __init__(self) -> None:
        super().__init__(_NOWHERE)
        self._events: list[tuple[float, Event]] = []
        self._forgotten = 0

    def __len__(self) -> int:
        return self._forgotten + len(self._events)

    def forget(self) -> None:
        """Nobody will ask for what has happened so far."""
        self._forgotten += len(self._events)
        self._events.clear()

    def append(self, event: Event) -> None:
        """Records an event as happening now."""
        self._events.append((monotonic_s(), event))
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def since(self, number: int) -> AsyncIterator[tuple[float, Event]]:
        """The events from a number on, each with its time, as they come."""
        while True:
            while number < len(self):
                yield self._events[number - self._forgotten]
                number += 1
            await self._grown.wait()


class Configuration(ConfigurationFile):
    """What the autoscaler is configured with, and whether it has noticed."""

    def __init__(self, spec: ClusterSpec, *, written: Callable[[ClusterSpec], None] = lambda _: None) -> None:
        super().__init__(_NOWHERE, lambda _: "")
        self.spec = spec
        self._read = True
        self._written = written

    def write(self, spec: ClusterSpec) -> None:
        """In force from the next reading on."""
        self.spec, self._read = spec, False
        self._written(spec)

    def read(self) -> ClusterSpec:
        """What it says now."""
        self._read = True
        return self.spec

    def was_read(self) -> bool:
        """Whether it has been read since it was last written."""
        return self._read
