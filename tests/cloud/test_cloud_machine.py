"""Whatever is asked of the Cloud in whatever order, and whenever it is restarted: what always holds."""

from __future__ import annotations

import asyncio
import collections
import os
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chaos.cloud.instances import StateFile
from chaos.cloud.launching import LaunchRefused
from chaos.errors import InjectionError
from chaos.events import NodeLaunching, NodeStarted, NodeTerminated
from chaos.harm import FrozenNode, LaunchFault
from tests.cloud.fake_driver import Sky, on_virtual_time
from tests.doubles import VirtualClock, settle

WAITS = st.sampled_from((0.0, 0.3, 1.0, 6.0))
NODES = st.sampled_from(("w1", "w2", "w3"))
EFFECTS = st.sampled_from(("a", "b", "c"))
LEASES = st.sampled_from((1.0, 4.0, 100.0))
INSTANCES = st.sampled_from(tuple(f"i-{number:05d}" for number in range(1, 7)))


class CloudMachine(RuleBasedStateMachine):
    """Launches, ends, kills, pauses, faults, waits and restarts, on a driver that takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda _: None)  # durability is not what is tested, and it takes most time
        self.clock = VirtualClock()
        on_virtual_time(self.patch, self.clock)
        self.directory = Path(tempfile.mkdtemp(prefix="raychaos-cloud-"))
        self.sky = Sky(self.directory, clock=self.clock)
        self.sky.driver.slow_s = {"start": 0.5, "started": 0.2, "stop": 0.7}
        self.ended: set[str] = set()
        self.do(self.sky.cloud.resume())
        self.do(self.clock.run(self.sky.cloud.start_head()))

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        """Runs the work and what follows from it at once."""

        async def all_of_it() -> None:
            await work
            await settle()

        self.loop.run_until_complete(all_of_it())

    def teardown(self) -> None:
        """Ends the Cloud: nothing may run then, and every task must have ended."""
        self.sky.driver.slow_s = {}
        try:
            self.do(self.sky.cloud.tear_down())
            assert not self.sky.driver.running
            assert not self.sky.cloud.instances()
        finally:
            self.loop.close()
            self.patch.undo()
            shutil.rmtree(self.directory)

    @rule(count=st.integers(1, 2), node_type=st.sampled_from(("gpu", "cpu")))
    def launch(self, count: int, node_type: str) -> None:
        async def ask() -> None:
            try:
                await self.sky.cloud.launch(node_type, count, {})
            except LaunchRefused:
                assert any(isinstance(item.harm, LaunchFault) and item.harm.error for item in self.sky.cloud.effects())

        self.do(ask())

    @rule(instance=INSTANCES)
    def terminate(self, instance: str) -> None:
        self.do(self.sky.cloud.terminate(instance))

    @rule(node=NODES)
    def kill(self, node: str) -> None:
        self.do(self._or_refused(self.sky.cloud.kill(node)))

    @rule(node=NODES, effect=EFFECTS, lease_s=LEASES)
    def pause(self, node: str, effect: str, lease_s: float) -> None:
        self.do(self._or_refused(self.sky.cloud.apply(effect, FrozenNode(), lease_s=lease_s, node=node)))

    @rule(effect=EFFECTS, lease_s=LEASES, late=st.booleans(), count=st.sampled_from((None, 1, 3)))
    def fault_launches(self, effect: str, lease_s: float, late: bool, count: int | None) -> None:
        fault = LaunchFault(delay_s=2.0, count=count) if late else LaunchFault(error="no", count=count)
        self.do(self._or_refused(self.sky.cloud.apply(effect, fault, lease_s=lease_s)))

    @rule(effect=EFFECTS)
    def undo(self, effect: str) -> None:
        self.do(self.sky.cloud.undo(effect))
        assert effect not in {item.effect_id for item in self.sky.cloud.effects()}

    @rule(wait_s=WAITS)
    def wait(self, wait_s: float) -> None:
        self.do(self.clock.advance_to(self.clock.now_s() + wait_s))

    @rule()
    def renumber(self) -> None:
        self.sky.cloud.renumber()
        workers = [item.node for item in self.sky.cloud.instances() if item.instance != "head"]
        assert workers == [f"w{ordinal}" for ordinal in range(1, len(workers) + 1)]

    @rule(place=st.integers(0, 5))
    @precondition(lambda self: len(self.sky.driver.running) > 1)
    def vanish(self, place: int) -> None:
        handles = [handle for handle, instance in self.sky.driver.running.items() if instance != "head"]
        self.sky.driver.vanish(handles[place % len(handles)])

    @rule()
    def restart(self) -> None:
        """A crash between what happens, and a new Cloud from what is on disk."""

        async def anew() -> None:
            tasks = list(self.sky.cloud._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.sky.reborn().resume()

        self.do(anew())

    async def _or_refused(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except InjectionError:
            return

    @invariant()
    def no_two_living_instances_of_one_name(self) -> None:
        names = [item.node for item in self.sky.cloud.instances()]
        assert len(set(names)) == len(names)
        running = collections.Counter(self.sky.driver.running.values())
        assert all(count == 1 for count in running.values()), running

    @invariant()
    def what_is_terminated_never_returns(self) -> None:
        living = {item.instance for item in self.sky.cloud.instances()}
        assert not living & self.ended
        following = StateFile(self.directory / "state.json").load().next_instance
        self.ended |= {f"i-{number:05d}" for number in range(1, following)} - living

    @invariant()
    def harm_is_in_force_on_living_nodes_only_and_shows_exactly_there(self) -> None:
        running = {item.instance: item for item in self.sky.cloud.instances() if item.state == "running"}
        living = {item.instance for item in self.sky.cloud.instances()}
        paused = {effect.instance for effect in self.sky.cloud.effects() if isinstance(effect.harm, FrozenNode)}
        assert paused <= living
        alive = {running[instance].handle for instance in paused & running.keys()} & self.sky.driver.running.keys()
        frozen = self.sky.driver.frozen & {item.handle for item in running.values()}
        assert alive == frozen

    @invariant()
    def no_lease_is_long_past(self) -> None:
        for effect in self.sky.cloud.effects():
            assert effect.expires_monotonic_s > self.clock.now_s() - 1.0

    @invariant()
    def what_runs_is_known_and_what_is_told_adds_up(self) -> None:
        known = {item.handle for item in self.sky.cloud.instances() if item.state in ("running", "stopping")}
        events = self.loop.run_until_complete(self.sky.events())
        asked = sum(isinstance(event, NodeLaunching) for event in events)
        ended = sum(isinstance(event, NodeTerminated) for event in events)
        began = sum(isinstance(event, NodeStarted) for event in events) - 1
        workers = [item for item in self.sky.cloud.instances() if item.instance != "head"]
        assert asked - ended == len(workers)
        assert began <= asked
        booting = {item.instance for item in workers if item.state == "pending"}
        strays = {self.sky.driver.running[handle] for handle in self.sky.driver.running.keys() - known}
        leaving = {instance for method, instance in self.sky.driver.calls if method == "stop"}
        assert strays <= booting | leaving


TestCloudMachine = CloudMachine.TestCase
TestCloudMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
