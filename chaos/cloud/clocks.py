"""Clocks of nodes' own: a file for each, whose offset a library in all processes of the node adds to the time of day.

The library (compose/clock.c) is preloaded where the node's type has `own_clock`, and maps the file: a changed offset is
there for all processes at once. The machine's clock is never touched.
"""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos.cloud.config import CloudDirectory
from chaos.cloud.instances import Instance
from chaos.cloud.marks import environment_of
from chaos.cloud.stopping import Look
from chaos.errors import InjectionError
from chaos.harm import ClockSkew, NodeHarm
from chaos.value import Value

LIBRARY = "/opt/raychaos-clock.so"
CLOCK_VARIABLE = "RAYCHAOS_CLOCK"
_PRELOAD_VARIABLE = "LD_PRELOAD"
_FILE = "clock"
_OFFSET = struct.Struct("=q")
_READ_LIMIT_S = 2.0


class Clocks:
    """Keeps the file of each node that has one. `root_on_nodes` is the cluster's directory as its nodes see it."""

    kinds: tuple[type[Value], ...] = (ClockSkew,)

    def __init__(self, directory: CloudDirectory, look: Look, *, root_on_nodes: str, library: str = LIBRARY) -> None:
        self._nodes = directory.nodes
        self._nodes_on_nodes = f"{root_on_nodes}/{directory.nodes.relative_to(directory.root)}"
        self._look = look
        self._library = library

    def environment(self, instance: Instance) -> dict[str, str]:
        """What gives the node's processes its clock, which is made here; nothing where its type has none."""
        if instance.shape is None or not instance.shape.own_clock:
            return {}
        if not self._path(instance).exists():  # of one that an earlier Cloud made, processes may read
            self._path(instance).write_bytes(_OFFSET.pack(0))
        clock = f"{self._nodes_on_nodes}/{instance.instance}/{_FILE}"
        return {_PRELOAD_VARIABLE: self._library, CLOCK_VARIABLE: clock}

    async def obey(self, instance: Instance, harms: Sequence[NodeHarm], *, addresses: Mapping[str, str]) -> None:  # noqa: ARG002 -- a clock has no peers
        """Moves the clock by all the offsets in force together."""
        if not self._path(instance).exists():
            if harms:
                raise InjectionError(f"node {instance.node} has no clock of its own; give its node type `own_clock`")
            return
        total_s = sum(harm.offset_s for harm in harms if isinstance(harm, ClockSkew))
        try:
            # In place: whoever has mapped the file reads these very bytes.
            with self._path(instance).open("r+b", buffering=0) as file:
                os.pwrite(file.fileno(), _OFFSET.pack(round(total_s * 1e9)), 0)
        except OSError as error:
            raise InjectionError(f"the clock of node {instance.node}: {error.strerror}") from error

    async def read(self, instance: Instance) -> float | None:
        """How many seconds its raylet's time of day is ahead of this machine's; None where that cannot be read.

        It is what a program says that is given the raylet's own library and clock: date(1), which knows of neither.
        """
        if not self._path(instance).exists():
            return None
        raylets = [process.pid for process in await self._look(instance) if process.role == "raylet"]
        return await asyncio.to_thread(self._offset_of, raylets[0]) if raylets else None

    def seen(self, instance: Instance) -> list[str]:
        """What shows of a node's clock, in words."""
        try:
            (offset_ns,) = _OFFSET.unpack(self._path(instance).read_bytes())
        except (OSError, struct.error):
            return []
        return [f"{instance.node}: clock off by {offset_ns / 1e9:g} s"] if offset_ns else []

    def _offset_of(self, raylet: int) -> float | None:
        environment = environment_of(raylet)
        clock = environment.get(CLOCK_VARIABLE, "")
        if not clock or not _maps(raylet, clock):
            return None
        given = {name: environment[name] for name in (_PRELOAD_VARIABLE, CLOCK_VARIABLE) if name in environment}
        before_s = time.time()
        try:
            said = subprocess.run(
                ["date", "+%s.%N"], env={**os.environ, **given}, capture_output=True, check=True, timeout=_READ_LIMIT_S
            ).stdout
            return round(float(said) - (before_s + time.time()) / 2, 3)
        except (OSError, subprocess.SubprocessError, ValueError):
            return None

    def _path(self, instance: Instance) -> Path:
        return self._nodes / instance.instance / _FILE


def _maps(pid: int, file: str) -> bool:
    """Whether a process has this file in its memory; so it has the library, and reads its time by the file."""
    try:
        return any(line.endswith(f" {file}") for line in Path(f"/proc/{pid}/maps").read_text().splitlines())
    except OSError:
        return False
