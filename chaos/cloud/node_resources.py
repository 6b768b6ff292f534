"""What takes resources from a node in the same way wherever it runs: memory, open files, room in its object store."""

from __future__ import annotations

from collections.abc import Collection

from chaos.cloud.config import CloudDirectory
from chaos.cloud.driver import Enforcer
from chaos.cloud.file_limit import FileLimiter, limits_seen
from chaos.cloud.holder import DiskHolder, MemoryHolder, Place, StoreHolder, programs_seen
from chaos.cloud.instances import Instance


class NodeResources:
    """The enforcers of a driver's nodes, told together which nodes come and go."""

    def __init__(self, directory: CloudDirectory, place: Place) -> None:
        self._holders = (MemoryHolder(place), StoreHolder(place), DiskHolder(place))
        self._files = FileLimiter(directory.file_limits, place.processes)

    @property
    def enforcers(self) -> tuple[Enforcer, ...]:
        """Each for its own kind of harm."""
        return (*self._holders, self._files)

    def started(self, handle: str) -> None:
        """A node that has just been started is untouched."""
        for holder in self._holders:
            holder.started(handle)

    def ended(self, handle: str) -> None:
        """The node is gone."""
        for holder in self._holders:
            holder.ended(handle)
        self._files.ended(handle)

    def seen(self, instance: Instance, pids: Collection[int], *, first: int) -> list[str]:
        """What shows on a node's processes, of which `first` is the one all others come from."""
        return [f"{instance.node}: {thing}" for thing in (*programs_seen(pids), *limits_seen(pids, first=first))]
