"""Makes nodes obey network shapes: finds a node's network, and turns cuts that flap on and off in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from chaos.cloud.instances import Instance
from chaos.cloud.network import NetworkShaper
from chaos.cloud.packets import Wanted, flaps
from chaos.cluster import Connection
from chaos.errors import InjectionError
from chaos.harm import NetworkShape, NodeHarm
from chaos.value import Value

_ESTABLISHED = "01"


class Kernel(Protocol):
    """A node's first process, as the kernel of the machine knows it."""

    pid: int

    def alive(self) -> bool:
        """Whether it still runs."""
        ...


class Networks:
    """The enforcer of `NetworkShape`. A flapping cut begins with being down, anew whenever what is in force changes."""

    kinds: tuple[type[Value], ...] = (NetworkShape,)

    def __init__(self, shaper: NetworkShaper, kernel_of: Callable[[Instance], Awaitable[Kernel | None]]) -> None:
        self._shaper = shaper
        self._kernel_of = kernel_of
        self._flapping: dict[str, asyncio.Task[None]] = {}
        self._log = structlog.get_logger("cloud")

    async def obey(self, instance: Instance, harms: Sequence[NodeHarm], *, addresses: Mapping[str, str]) -> None:
        """The slowest rate among the shapes, and everything else of each."""
        shapes = [harm for harm in harms if isinstance(harm, NetworkShape)]
        await self._settle(instance.handle)
        kernel = await self._kernel_of(instance)
        if kernel is not None and kernel.alive():
            await self._shaper.shape(kernel.pid, Wanted.of(shapes, addresses))
            turning = [shape for shape in shapes if flaps(shape)]
            if turning:
                work = self._flap(kernel, shapes, addresses, turning)
                self._flapping[instance.handle] = asyncio.create_task(work)
        elif shapes:
            raise InjectionError(f"node {instance.node} is gone")

    @property
    def flapping(self) -> tuple[str, ...]:
        """The handles of nodes whose cuts come and go."""
        return tuple(self._flapping)

    async def settle(self) -> None:
        """Nothing is turned on or off any more; networks stay as they are."""
        for handle in list(self._flapping):
            await self._settle(handle)

    async def _settle(self, handle: str) -> None:
        """Ends what turned a node's cuts on and off."""
        task = self._flapping.pop(handle, None)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and (error := task.exception()) is not None:
                self._log.error("a cut no longer came and went", error=repr(error), exc_info=error)

    async def _flap(
        self,
        kernel: Kernel,
        shapes: Sequence[NetworkShape],
        addresses: Mapping[str, str],
        turning: Sequence[NetworkShape],
    ) -> None:
        """Turns every flapping cut at its times, until cancelled or the node is gone."""
        began_s = time.monotonic()
        while kernel.alive():
            now_s = time.monotonic() - began_s
            wanted = [shape for shape in shapes if not flaps(shape) or _down_at(shape, now_s)]
            try:
                await self._shaper.shape(kernel.pid, Wanted.of(wanted, addresses))
            except InjectionError as error:
                self._log.warning("a network could not be turned on or off", error=str(error))
            await asyncio.sleep(max(0.01, min(_next_turn_s(shape, now_s) for shape in turning) - now_s))


def _down_at(shape: NetworkShape, now_s: float) -> bool:
    return now_s % (shape.down_s + shape.up_s) < shape.down_s


def _next_turn_s(shape: NetworkShape, now_s: float) -> float:
    """When a flapping cut is next turned on or off, in seconds since it began."""
    period_s = shape.down_s + shape.up_s
    begun_s = now_s // period_s * period_s
    return begun_s + (shape.down_s if _down_at(shape, now_s) else period_s)


def connections_of(pid: int, addresses: Mapping[str, str]) -> tuple[Connection, ...]:
    """The established TCP connections in a process's network, but for those with itself.

    Raises:
        OSError: the process is gone.
    """
    names = {address: node for node, address in addresses.items()}
    found = []
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, own, peer, state, *_ = line.split()
        (own_address, own_port), (peer_address, peer_port) = _end(own), _end(peer)
        if state == _ESTABLISHED and own_address != peer_address and not peer_address.startswith("127."):
            name = names.get(peer_address, peer_address)
            found.append(Connection(peer=name, own_port=own_port, peer_port=peer_port))
    return tuple(found)


def _end(text: str) -> tuple[str, int]:
    """An address and port as /proc/net/tcp writes them: each word of the address in the machine's byte order."""
    address, _, port = text.partition(":")
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(address))), int(port, 16)
