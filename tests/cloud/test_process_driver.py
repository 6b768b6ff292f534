"""Nodes as processes: started once for each instance, and whatever should not be there is seen."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from chaos.cloud.config import CloudConfig, CloudDirectory
from chaos.cloud.driver import NodeLaunch
from chaos.cloud.instances import CloudState, Instance, StateFile
from chaos.cloud.marks import processes, state_of
from chaos.cloud.node_process import start_ticks
from chaos.cloud.process_driver import ProcessDriver
from chaos.cloud.ray_start import INSTANCE_VARIABLE, MARK_VARIABLE, PROGRAM_VARIABLE
from chaos.cluster_spec import ClusterSpec
from chaos.harm import EndedProcess, FrozenNode, NodeHarm, StoppedProcesses

LIMIT_S = 15.0
SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
ONE = Instance(instance="i-00001", node="w1", node_type="gpu", state="pending")


class Yard:
    """A cluster's directory whose Cloud is this process, and its driver."""

    def __init__(self, root: Path) -> None:
        self.mark = f"yard#{os.getpid()}-{root.name}"
        self.config = CloudConfig(cluster="yard", mark=self.mark, driver="process", spec=ClusterSpec())
        self.directory = CloudDirectory(root)
        self.directory.create(self.config, token="t", ray_token=None)
        self.directory.address.write_text(json.dumps({"pid": os.getpid(), "start_ticks": start_ticks(os.getpid())}))
        self.driver = self.again()

    def again(self) -> ProcessDriver:
        """The driver of a Cloud that was started again."""
        return ProcessDriver(self.config, self.directory)

    def launch(self, instance: str) -> NodeLaunch:
        """What runs a node: a process that does nothing."""
        return NodeLaunch(argv=SLEEP, environment={MARK_VARIABLE: self.mark, INSTANCE_VARIABLE: instance})

    def running(self) -> list[int]:
        """Every process of the cluster."""
        return processes(self.mark, sessions=self.directory.session_instances())


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    yard = Yard(tmp_path)
    yield yard
    await yard.driver.tear_down()
    assert yard.running() == []


def until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"after {LIMIT_S:g} s: not {what}"
        time.sleep(0.02)


async def test_what_a_crashed_cloud_started_is_adopted_and_not_started_twice(yard: Yard) -> None:
    started = await yard.driver.start(ONE, yard.launch("i-00001"))
    until(lambda: len(yard.running()) == 2, "the wrapper and its command run")
    # The crash: there is a state, but neither it nor the list of sessions knows of the node.
    StateFile(yard.directory.state / "state.json").save(CloudState())
    yard.directory.sessions.unlink()
    adopted = await yard.again().start(ONE, yard.launch("i-00001"))
    assert (adopted.handle, adopted.address) == (started.handle, started.address)
    assert len(yard.running()) == 2
    assert yard.directory.session_instances() == {started.handle: "i-00001"}
    other = await yard.driver.start(ONE.model_copy(update={"instance": "i-00002"}), yard.launch("i-00002"))
    assert other.handle != started.handle


async def test_a_node_that_has_ended_is_started_anew(yard: Yard) -> None:
    first = await yard.driver.start(ONE, yard.launch("i-00001"))
    await yard.driver.stop(first, limit_s=0.0)
    second = await yard.driver.start(ONE, yard.launch("i-00001"))
    assert second.handle != first.handle
    assert await yard.driver.gone([first, second.model_copy(update={"instance": "other"})]) == {"i-00001"}


async def test_a_cluster_at_rest_shows_nothing_and_one_that_is_not_says_what(yard: Yard) -> None:
    one = await yard.driver.start(ONE, yard.launch("i-00001"))
    until(lambda: len(yard.running()) == 2, "the wrapper and its command run")
    assert await yard.driver.harm_seen(lambda: [one]) == ()
    wrapper = int(one.handle.partition(":")[0])
    (command,) = [pid for pid in yard.running() if pid != wrapper]

    await yard.driver.obey(one, [FrozenNode()], addresses={})
    until(lambda: state_of(command) == "T", "stopped")
    assert await yard.driver.harm_seen(lambda: [one]) == (f"stopped process: {command}",)
    await yard.driver.obey(one, [], addresses={})
    until(lambda: state_of(command) != "T", "going on")

    ended = [f"process {pid} of a node that ended" for pid in sorted((wrapper, command))]
    assert await yard.driver.harm_seen(list) == tuple(ended)

    own = {MARK_VARIABLE: yard.mark, INSTANCE_VARIABLE: "head", PROGRAM_VARIABLE: "1"}
    program = await asyncio.create_subprocess_exec(*SLEEP, env={**os.environ, **own}, start_new_session=True)
    head = ONE.model_copy(update={"instance": "head", "node": "head"})
    try:
        until(lambda: program.pid in yard.running(), "the program runs")
        assert await yard.driver.harm_seen(lambda: [head, one]) == (f"program still running: process {program.pid}",)
    finally:
        program.kill()
        await program.wait()
    assert await yard.driver.harm_seen(lambda: [head, one]) == ()


@pytest.mark.parametrize("driver_on", ["head", "gpu"])
async def test_the_driver_is_of_its_node_and_freezes_and_thaws_with_it(yard: Yard, driver_on: str) -> None:
    yard.config = yard.config.model_copy(update={"spec": yard.config.spec.model_copy(update={"driver_on": driver_on})})
    driver = yard.again()
    host = ONE.model_copy(update={"instance": "head", "node": "head"}) if driver_on == "head" else ONE
    node = await driver.start(host, yard.launch(host.instance))
    own = {MARK_VARIABLE: yard.mark, INSTANCE_VARIABLE: host.instance, PROGRAM_VARIABLE: "1"}
    program = await asyncio.create_subprocess_exec(*SLEEP, env={**os.environ, **own}, start_new_session=True)
    try:
        until(lambda: len(yard.running()) == 3, "the wrapper, its command and the program run")
        assert program.pid in [seen.pid for seen in await driver.processes(node) if seen.role == "driver"]
        await driver.obey(node, [FrozenNode()], addresses={})
        until(lambda: state_of(program.pid) == "T", "the program is stopped")
        await driver.obey(node, [], addresses={})
        until(lambda: state_of(program.pid) != "T", "the program goes on")
    finally:
        program.kill()
        await program.wait()


# A `ray start` that begins a raylet and a monitor, in name only.
FAMILY = """
import os, subprocess, sys, time
for name in ("raylet", "/autoscaler/v2/monitor.py"):
    subprocess.Popen([name, "-c", "import time; time.sleep(600)", name], executable=sys.executable)
time.sleep(600)
"""


async def a_head(yard: Yard) -> Instance:
    """A head that runs the family, once all of it can be told by role."""
    launch = yard.launch("head").model_copy(update={"argv": (sys.executable, "-c", FAMILY)})
    head = await yard.driver.start(ONE.model_copy(update={"instance": "head", "node": "head"}), launch)
    deadline_s = time.monotonic() + LIMIT_S
    while not {"raylet", "monitor"} <= (await roles(yard, head)).keys():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)
    return head


async def roles(yard: Yard, head: Instance) -> dict[str, int]:
    return {process.role: process.pid for process in await yard.driver.processes(head) if process.role}


async def test_a_freeze_and_a_stopped_process_of_one_node_end_in_either_order(yard: Yard) -> None:
    head = await a_head(yard)
    raylet, monitor = (await roles(yard, head))["raylet"], (await roles(yard, head))["monitor"]

    def reached(wanted: tuple[bool, bool]) -> bool:
        return (state_of(raylet) == "T", state_of(monitor) == "T") == wanted

    frozen, stop = FrozenNode(), StoppedProcesses(role="raylet")
    steps: list[tuple[list[NodeHarm], tuple[bool, bool]]] = [
        ([stop], (True, False)),
        ([stop, frozen], (True, True)),
        ([stop], (True, False)),  # thawed, but for what was stopped
        ([frozen, stop], (True, True)),
        ([frozen], (True, True)),  # the process is let go, but its node is frozen
        ([], (False, False)),
    ]
    for in_force, expected in steps:
        await yard.driver.obey(head, in_force, addresses={})
        until(partial(reached, expected), f"{expected} with {in_force}")
    assert await yard.driver.harm_seen(lambda: [head]) == ()


async def test_an_ended_process_is_owed_and_then_runs_as_part_of_the_head_again(yard: Yard) -> None:
    head = await a_head(yard)
    monitor = (await roles(yard, head))["monitor"]
    await yard.driver.obey(head, [EndedProcess(role="monitor", restart=True)], addresses={})
    until(lambda: state_of(monitor) in ("", "Z"), "the monitor has ended")
    assert await yard.driver.harm_seen(lambda: [head]) == ("head: its monitor is yet to be started again",)
    # Its command line says a name only, which is no program.
    remembered = yard.directory.state / "ended-head.monitor.json"
    remembered.write_text(remembered.read_text().replace('["/autoscaler/v2/monitor.py', f'["{sys.executable}', 1))
    await yard.driver.obey(head, [], addresses={})
    deadline_s = time.monotonic() + LIMIT_S
    while "monitor" not in await roles(yard, head):
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)
    assert await yard.driver.harm_seen(lambda: [head]) == ()


async def test_a_restarted_node_has_its_address_and_another_handle(yard: Yard) -> None:
    first = await yard.driver.start(ONE, yard.launch("i-00001"))
    until(lambda: len(yard.running()) == 2, "the wrapper and its command run")
    again = await yard.driver.restart(first, yard.launch("i-00001"))
    until(lambda: len(yard.running()) == 2, "the wrapper and its command run again")
    assert (again.instance, again.address) == (first.instance, first.address)
    assert again.handle != first.handle
    assert await yard.driver.processes(first) == ()
    assert await yard.driver.gone([again]) == set()
