"""Programs held on a node: one for all harms of a kind, found again by a new Cloud, and ended."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence

import psutil
import pytest

from chaos.cloud.gauges import process_gauges
from chaos.cloud.holder import DiskHolder, MemoryHolder, Place, StoreHolder, programs_seen
from chaos.cloud.instances import Instance
from chaos.cloud.marks import command_of
from chaos.cluster import Gauges
from chaos.errors import InjectionError
from chaos.harm import DiskFill, MemoryPressure, StoreFill
from chaos.value import Value

ONE = Instance(instance="i-00001", node="w1", node_type="gpu", state="running", handle="h1", address="10.0.0.9")
MB_16 = MemoryPressure(mb=16)
LIMIT_S = 15.0


class Node:
    """A node that is this process's children."""

    def __init__(self) -> None:
        self.started: list[asyncio.subprocess.Process] = []
        self.disk_mb: float | None = None
        self.limit_mb: float | None = 1000.0
        self.asked: list[list[str]] = []
        self.place = Place(self.start, self.processes, self.gauges, lambda: "head:6379")

    async def start(self, instance: Instance, arguments: Sequence[str]) -> None:
        self.asked.append(list(arguments))
        if arguments[1] == "chaos.cloud.ballast":
            self.started.append(await asyncio.create_subprocess_exec(sys.executable, *arguments))

    async def processes(self, instance: Instance) -> list[int]:
        return [process.pid for process in self.started if process.returncode is None]

    async def gauges(self, instance: Instance) -> Gauges | None:
        return Gauges(at_s=0.0, cpu_s=0.0, memory_mb=600.0, memory_limit_mb=self.limit_mb, disk_mb=self.disk_mb)

    async def held_mb(self) -> float:
        gauges = process_gauges(await self.processes(ONE))
        return 0.0 if gauges is None else gauges.ballast_mb

    async def until_held(self, mb: float) -> None:
        deadline_s = asyncio.get_running_loop().time() + LIMIT_S
        while await self.held_mb() < mb:
            assert asyncio.get_running_loop().time() < deadline_s, f"after {LIMIT_S:g} s: {await self.held_mb()} MB"
            await asyncio.sleep(0.02)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    yield node
    for process in node.started:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_memory_is_held_grows_with_another_harm_and_is_given_back(node: Node) -> None:
    holder = MemoryHolder(node.place)
    holder.started("h1")
    await holder.obey(ONE, [MB_16], addresses={})
    await node.until_held(16.0)
    (first,) = await node.processes(ONE)
    assert programs_seen([first]) == [f"ballast process {first}"]
    await holder.obey(ONE, [MB_16], addresses={})
    assert await node.processes(ONE) == [first]
    await holder.obey(ONE, [MB_16, MemoryPressure(mb=32)], addresses={})
    await node.until_held(48.0)
    assert first not in await node.processes(ONE)
    await holder.obey(ONE, [], addresses={})
    assert await node.held_mb() == 0.0


async def test_a_new_cloud_finds_what_is_held(node: Node) -> None:
    await MemoryHolder(node.place).obey(ONE, [MB_16], addresses={})
    (pid,) = await node.processes(ONE)
    await node.until_held(16.0)
    again = MemoryHolder(node.place)
    await again.obey(ONE, [MB_16], addresses={})
    assert await node.processes(ONE) == [pid]
    await MemoryHolder(node.place).obey(ONE, [], addresses={})
    assert not command_of(pid)


async def test_a_process_that_dies_as_soon_as_its_node_thaws_holds_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await MemoryHolder(node.place).obey(ONE, [MB_16], addresses={})
    await node.until_held(16.0)
    (dying,) = await node.processes(ONE)
    monkeypatch.setattr("chaos.cloud.holder.kill_pending", lambda pid: pid == dying)
    await MemoryHolder(node.place).obey(ONE, [MB_16], addresses={})
    assert len(await node.processes(ONE)) == 2


async def test_a_share_fills_what_is_not_in_use_yet(node: Node) -> None:
    holder = MemoryHolder(node.place)
    await holder.obey(ONE, [MemoryPressure(until_percent=62.0)], addresses={})
    assert node.asked == [["-m", "chaos.cloud.ballast", "mb=0,until_percent=62", "20"]]
    node.limit_mb = None
    with pytest.raises(InjectionError, match="no memory limit to fill a share of; give `mb`"):
        await holder.obey(ONE, [MemoryPressure(until_percent=50.0)], addresses={})


async def test_the_machine_keeps_a_floor_of_free_memory(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    free = psutil.virtual_memory()._replace(available=1500 * 2**20)
    monkeypatch.setattr("chaos.cloud.holder.psutil.virtual_memory", lambda: free)
    with pytest.raises(InjectionError, match="500 MB on w1 would leave this machine 1000 MB of memory"):
        await MemoryHolder(node.place).obey(ONE, [MemoryPressure(mb=500)], addresses={})
    assert node.asked == []


async def test_a_ballast_ends_with_whoever_started_it() -> None:
    script = (
        "import subprocess, sys; "
        "command = [sys.executable, '-m', 'chaos.cloud.ballast', 'x', '16']; "
        "nothing = subprocess.DEVNULL; "
        "print(subprocess.Popen(command, stdin=nothing, stdout=nothing).pid, flush=True); "
        "sys.stdin.read()"
    )
    pipe = asyncio.subprocess.PIPE
    starter = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdin=pipe, stdout=pipe)
    assert starter.stdout is not None
    pid = int(await starter.stdout.readline())
    deadline_s = asyncio.get_running_loop().time() + LIMIT_S
    while "chaos.cloud.ballast" not in command_of(pid):
        assert asyncio.get_running_loop().time() < deadline_s
        await asyncio.sleep(0.02)
    # It remembers its starter before it takes its memory, and Python alone is smaller than that.
    while (gauges := process_gauges([pid])) is None or gauges.ballast_mb < 24.0:
        assert asyncio.get_running_loop().time() < deadline_s
        await asyncio.sleep(0.02)
    starter.kill()
    await starter.communicate()
    while command_of(pid):
        assert asyncio.get_running_loop().time() < deadline_s
        await asyncio.sleep(0.02)


async def test_the_store_is_filled_by_a_driver_of_that_very_node(node: Node) -> None:
    holder = StoreHolder(node.place)
    fills: list[Value] = [StoreFill(percent=60.0), StoreFill(percent=60.0)]
    await holder.obey(ONE, [fill for fill in fills if isinstance(fill, StoreFill)], addresses={})
    assert node.asked == [["-m", "chaos.cloud.store_filler", "percent=100", "100", "head:6379", "10.0.0.9"]]


def test_nothing_of_ours_is_seen_where_nothing_is() -> None:
    assert programs_seen([os.getpid()]) == []


async def test_only_a_disk_of_the_nodes_own_is_filled(node: Node) -> None:
    holder = DiskHolder(node.place)
    with pytest.raises(InjectionError, match="w1 has no disk of its own to fill; give its node type a `disk_limit_mb`"):
        await holder.obey(ONE, [DiskFill(until_percent=90.0)], addresses={})
    node.disk_mb = 64.0
    await holder.obey(ONE, [DiskFill(until_percent=90.0), DiskFill(until_percent=50.0)], addresses={})
    assert node.asked == [["-m", "chaos.cloud.disk_filler", "until_percent=90", "90", "/raychaos-spill"]]
