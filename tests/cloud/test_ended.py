"""A process that is ended for a while, and started again as it was, also by another Cloud."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from chaos.cloud.config import CloudConfig, CloudDirectory
from chaos.cloud.ended import Reviver
from chaos.cloud.instances import Instance
from chaos.cluster import NodeProcess
from chaos.cluster_spec import ClusterSpec
from chaos.harm import EndedProcess

LIMIT_S = 10.0
HEAD = Instance(instance="head", node="head", node_type="head", state="running", handle="h0")
ARGV = [sys.executable, "-c", "import time; time.sleep(600)", "monitor"]


class Head:
    """A head whose monitor is a real process; what was started again is only noted."""

    def __init__(self, root: Path) -> None:
        self.directory = CloudDirectory(root)
        config = CloudConfig(cluster="c", mark="c#1", driver="process", spec=ClusterSpec())
        self.directory.create(config, token="t", ray_token=None)
        self.gone = False
        self.monitor = self.another()
        self.revived: list[tuple[list[str], dict[str, str]]] = []
        self.reviver = self.again()

    def another(self) -> subprocess.Popen[bytes]:
        """A monitor."""
        return subprocess.Popen(ARGV, env={**os.environ, "TOLD": "yes"})

    def again(self) -> Reviver:
        """The enforcer of a Cloud that was started again."""
        return Reviver(self.directory, self.look, self.revive)

    async def look(self, instance: Instance) -> Sequence[NodeProcess]:
        raylet = NodeProcess(pid=2**22 + 1, started_ticks=1, role="raylet", title="raylet")
        monitor = NodeProcess(pid=self.monitor.pid, started_ticks=1, role="monitor", title="monitor")
        if self.gone:
            return ()
        return (raylet, monitor) if self.monitor.poll() is None else (raylet,)

    async def revive(self, instance: Instance, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self.revived.append((list(argv), dict(environment)))


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    head = Head(tmp_path)
    yield head
    head.monitor.kill()
    head.monitor.wait(LIMIT_S)


@pytest.mark.parametrize("crashed", [False, True])
async def test_it_is_ended_and_started_again_as_it_was(head: Head, crashed: bool) -> None:
    end = EndedProcess(role="monitor", restart=True)
    await head.reviver.obey(HEAD, [end], addresses={})
    assert head.monitor.wait(LIMIT_S) == -signal.SIGTERM
    await head.reviver.obey(HEAD, [end], addresses={})
    assert not head.revived
    reviver = head.again() if crashed else head.reviver
    assert reviver.owed(["head"]) == ("head: its monitor is yet to be started again",)
    await reviver.obey(HEAD, [], addresses={})
    await reviver.obey(HEAD, [], addresses={})
    ((argv, environment),) = head.revived
    assert argv == ARGV
    assert environment["TOLD"] == "yes"
    assert reviver.owed(["head"]) == ()


async def test_on_a_node_that_has_ended_meanwhile_nothing_is_started(head: Head) -> None:
    await head.reviver.obey(HEAD, [EndedProcess(role="monitor", restart=True)], addresses={})
    head.gone = True
    await head.reviver.obey(HEAD, [], addresses={})
    assert not head.revived
    assert head.reviver.owed(["head"]) == ()


async def test_one_that_runs_already_is_not_started_twice(head: Head) -> None:
    await head.reviver.obey(HEAD, [EndedProcess(role="monitor", restart=True)], addresses={})
    head.monitor.wait(LIMIT_S)
    head.monitor = head.another()
    await head.reviver.obey(HEAD, [], addresses={})
    assert not head.revived
    assert head.reviver.owed(["head"]) == ()


async def test_one_that_has_yet_to_end_is_started_again_all_the_same(head: Head) -> None:
    end = EndedProcess(role="monitor", restart=True)
    before = await head.look(HEAD)
    await head.reviver.obey(HEAD, [end], addresses={})
    head.monitor.wait(LIMIT_S)

    async def dying(instance: Instance) -> Sequence[NodeProcess]:
        return before

    await Reviver(head.directory, dying, head.revive).obey(HEAD, [], addresses={})
    assert [argv for argv, _ in head.revived] == [ARGV]


async def test_a_stopped_one_ends_too(head: Head) -> None:
    head.monitor.send_signal(signal.SIGSTOP)
    await head.reviver.obey(HEAD, [EndedProcess(role="monitor", restart=True)], addresses={})
    assert head.monitor.wait(LIMIT_S) == -signal.SIGTERM


async def test_without_restart_it_stays_ended(head: Head) -> None:
    await head.reviver.obey(HEAD, [EndedProcess(role="monitor", restart=False)], addresses={})
    assert head.monitor.wait(LIMIT_S) == -signal.SIGTERM
    await head.reviver.obey(HEAD, [], addresses={})
    assert not head.revived
    assert head.reviver.owed(["head"]) == ()
