"""Processes stopped by role: exactly the wanted ones, however often it is asked, and with a freeze in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from chaos.cloud.instances import Instance
from chaos.cloud.marks import state_of
from chaos.cloud.stopping import Stopper
from chaos.cluster import NodeProcess
from chaos.harm import Role, StoppedProcesses

LIMIT_S = 10.0
NODE = Instance(instance="i-00001", node="w1", node_type="gpu", state="running", handle="h1")


class Node:
    """A raylet and a worker, in name only."""

    def __init__(self) -> None:
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        self.raylet, self.worker = subprocess.Popen(sleep), subprocess.Popen(sleep)
        self.looks = 0
        self.stopper = Stopper(self.look)

    async def look(self, instance: Instance) -> Sequence[NodeProcess]:
        self.looks += 1
        roles: dict[int, Role] = {self.raylet.pid: "raylet", self.worker.pid: "worker"}
        return [NodeProcess(pid=pid, started_ticks=1, role=role, title=role) for pid, role in roles.items()]

    async def obey(self, *roles: Role) -> None:
        await self.stopper.obey(NODE, [StoppedProcesses(role=role) for role in roles], addresses={})

    def settles(self, *, raylet: bool, worker: bool) -> None:
        """Waits until they are stopped, or not, as said."""
        deadline_s = time.monotonic() + LIMIT_S
        while [state_of(p.pid) == "T" for p in (self.raylet, self.worker)] != [raylet, worker]:
            assert time.monotonic() < deadline_s, "they did not settle"

    def close(self) -> None:
        for process in (self.raylet, self.worker):
            process.kill()
            process.wait(LIMIT_S)


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.close()


async def test_several_stop_together_and_each_goes_on_alone(node: Node) -> None:
    await node.obey("raylet")
    node.settles(raylet=True, worker=False)
    await node.obey("raylet", "worker", "worker")
    node.settles(raylet=True, worker=True)
    await node.obey("worker")
    node.settles(raylet=False, worker=True)
    await node.obey()
    node.settles(raylet=False, worker=False)
    looks = node.looks
    await node.obey()
    assert node.looks == looks  # nothing is to be done


async def test_one_not_known_to_move_is_let_go_once(node: Node) -> None:
    os.kill(node.worker.pid, signal.SIGSTOP)
    node.settles(raylet=False, worker=True)
    await node.obey()
    node.settles(raylet=False, worker=False)


async def test_after_a_freeze_only_the_wanted_stay_stopped(node: Node) -> None:
    node.stopper.started(NODE.handle)
    for process in (node.raylet, node.worker):
        os.kill(process.pid, signal.SIGSTOP)
    node.settles(raylet=True, worker=True)
    await node.obey()
    node.settles(raylet=True, worker=True)
    node.stopper.disturbed(NODE.handle)
    await node.obey("raylet")
    node.settles(raylet=True, worker=False)
