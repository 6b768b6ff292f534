"""Limits of open files: lowered for Ray's processes, and put back right also by a Cloud that was started again."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaos.cloud.file_limit import FileLimiter, limits_seen
from chaos.cloud.gauges import file_limit, open_files
from chaos.cloud.instances import Instance
from chaos.errors import InjectionError
from chaos.harm import FileLimit

ONE = Instance(instance="i-00001", node="w1", node_type="gpu", state="running", handle="h1")
# Takes a name as Ray's processes do, and forks when told; its child says its own number.
PROGRAM = """
import ctypes, os, sys, time
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
print(os.getpid(), flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        print(os.getpid(), flush=True)
        time.sleep(600)
"""


class Node:
    """A raylet and a worker in name, and a process that is none of Ray's."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.pids: list[int] = []
        self.running: list[asyncio.subprocess.Process] = []

    async def run(self, name: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, name, stdin=pipe, stdout=pipe)
        self.running.append(process)
        await self.read_pid(process)
        return process

    async def read_pid(self, process: asyncio.subprocess.Process) -> int:
        assert process.stdout is not None
        self.pids.append(int(await asyncio.wait_for(process.stdout.readline(), 15.0)))
        return self.pids[-1]

    async def fork(self, process: asyncio.subprocess.Process) -> int:
        assert process.stdin is not None
        process.stdin.write(b"fork\n")
        return await self.read_pid(process)

    def limiter(self) -> FileLimiter:
        """That of a new Cloud."""

        async def processes(instance: Instance) -> list[int]:
            return self.pids

        return FileLimiter(self.file, processes)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path / "limits.json")
    yield node
    for pid in node.pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for process in node.running:
        await process.communicate()


async def test_rays_processes_keep_little_to_spare_and_get_their_own_limits_back(node: Node) -> None:
    raylet, worker, other = [(await node.run(name)).pid for name in ("raylet", "ray::Task", "sh")]
    usual = file_limit(raylet)
    _, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (usual - 100, hard))
    limiter = node.limiter()
    await limiter.obey(ONE, [], addresses={})
    assert not node.file.exists()
    await limiter.obey(ONE, [FileLimit(spare=7)], addresses={})
    assert [file_limit(pid) for pid in (raylet, worker)] == [open_files(pid) + 7 for pid in (raylet, worker)]
    assert file_limit(other) == usual
    assert len(limits_seen(node.pids, first=other)) == 2
    await limiter.obey(ONE, [FileLimit(spare=7), FileLimit(spare=2)], addresses={})
    assert file_limit(raylet) == open_files(raylet) + 2
    await limiter.obey(ONE, [FileLimit(spare=7)], addresses={})
    assert file_limit(raylet) == open_files(raylet) + 7
    await limiter.obey(ONE, [], addresses={})
    assert [file_limit(pid) for pid in (raylet, worker, other)] == [usual, usual - 100, usual]
    assert resource.prlimit(worker, resource.RLIMIT_NOFILE)[1] == hard


async def test_a_new_cloud_puts_back_what_the_old_one_lowered_also_of_those_born_meanwhile(node: Node) -> None:
    raylet = await node.run("raylet")
    usual = file_limit(raylet.pid)
    await node.limiter().obey(ONE, [FileLimit(spare=2)], addresses={})
    born = await node.fork(raylet)
    assert file_limit(born) == file_limit(raylet.pid) < usual
    await node.limiter().obey(ONE, [FileLimit(spare=3)], addresses={})
    await node.limiter().obey(ONE, [], addresses={})
    assert [file_limit(raylet.pid), file_limit(born)] == [usual, usual]
    assert node.file.read_text() == "{}"


async def test_a_node_without_ray_cannot_be_limited_and_one_that_is_gone_is_forgotten(node: Node) -> None:
    limiter = node.limiter()
    with pytest.raises(InjectionError, match="node w1 has no Ray processes"):
        await limiter.obey(ONE, [FileLimit(spare=1)], addresses={})
    await node.run("raylet")
    await limiter.obey(ONE, [FileLimit(spare=1)], addresses={})
    limiter.ended("h1")
    assert node.file.read_text() == "{}"
