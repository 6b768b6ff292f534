"""Ray's calls to the Cloud: in turn, a few at a time, and carried out though the caller has given up."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from chaos.clock import monotonic_s
from chaos.sim.loop import run_in_virtual_time
from chaos.sim.node import Motion
from chaos.sim.provider import CALL_LIMIT_S, CloudApi, CloudProvider


class SlowCloud:
    """Takes `admit_s` to admit a call and `launch_s` for a launch, and notes when things were done."""

    def __init__(self, *, admit_s: float = 0.0, launch_s: float = 0.0) -> None:
        self.admit_s, self.launch_s = admit_s, launch_s
        self.done: list[tuple[str, float]] = []
        self.answers = SimpleNamespace(admit=self.admit, check_termination=lambda _: None, listed=self.listed)
        self.harm: list[str] = []
        self.instances: tuple[str, ...] = ()
        self.listings = 0
        self.motion: Motion | None = None

    def caller(self) -> Motion:
        """The process that calls."""
        self.motion = Motion()
        return self.motion

    @property
    def ledger(self) -> Any:
        """What is listed, and the harm in force: another object after each change."""
        return SimpleNamespace(effects=lambda: self.harm, state=lambda: self.instances)

    def listed(self) -> list[Any]:
        """The listing, and that it was asked for."""
        self.listings += 1
        return [SimpleNamespace(instance=name, tags={}, state="running") for name in self.instances]

    async def admit(self) -> None:
        await asyncio.sleep(self.admit_s)

    async def launch(self, node_type: str, count: int, _tags: dict[str, str]) -> None:
        await asyncio.sleep(self.launch_s)
        self.done.append((f"{count} {node_type}", monotonic_s()))

    async def terminate(self, instance_id: str) -> None:
        self.done.append((instance_id, monotonic_s()))


def play(cloud: SlowCloud, scene: Any) -> None:
    async def main() -> None:
        fake: Any = cloud
        await scene(CloudProvider(CloudApi(fake), cloud.caller()))

    run_in_virtual_time(main)


def test_a_call_that_is_given_up_is_carried_out_all_the_same() -> None:
    cloud = SlowCloud(admit_s=CALL_LIMIT_S + 5.0)

    async def scene(provider: CloudProvider) -> None:
        began_s = monotonic_s()
        provider.launch({"gpu": 2}, "r")
        await asyncio.sleep(CALL_LIMIT_S + 1.0)
        assert [str(error.__cause__) for error in provider.poll_errors()] == ["no answer in 15 s"]
        assert cloud.done == []
        provider.close()  # the monitor crashes: the Cloud does not mind
        await asyncio.sleep(5.0)
        assert [(what, when_s - began_s) for what, when_s in cloud.done] == [("2 gpu", CALL_LIMIT_S + 5.0)]

    play(cloud, scene)


def test_two_batches_are_launched_at_a_time_and_a_termination_is_waited_for() -> None:
    cloud = SlowCloud(admit_s=1.0, launch_s=3.0)

    async def scene(provider: CloudProvider) -> None:
        began_s = monotonic_s()
        provider.terminate(["i-1", "i-2"], "t")
        provider.launch({"gpu": 12}, "r")
        await asyncio.sleep(20.0)
        assert [(what, round(when_s - began_s, 3)) for what, when_s in cloud.done] == [
            ("i-1", 1.0),
            ("i-2", 2.0),
            ("5 gpu", 6.0),
            ("5 gpu", 6.0),
            ("2 gpu", 10.0),
        ]

    play(cloud, scene)


def test_while_the_monitor_hangs_what_was_called_is_carried_out_and_no_other_call_is_made() -> None:
    cloud = SlowCloud(admit_s=1.0, launch_s=3.0)

    async def scene(provider: CloudProvider) -> None:
        assert cloud.motion is not None
        began_s = monotonic_s()
        provider.launch({"gpu": 12}, "r")
        await asyncio.sleep(2.0)
        cloud.motion.freeze()
        await asyncio.sleep(18.0)
        assert [what for what, _ in cloud.done] == ["5 gpu", "5 gpu"]
        cloud.motion.thaw()
        await asyncio.sleep(10.0)
        assert [(what, when_s - began_s) for what, when_s in cloud.done][2:] == [("2 gpu", 24.0)]

    play(cloud, scene)


def test_a_listing_is_of_the_moment_and_made_anew_only_where_something_may_have_changed() -> None:
    cloud = SlowCloud(admit_s=2.0)

    async def scene(provider: CloudProvider) -> None:
        async def refreshed() -> tuple[list[str], float]:
            began_s = monotonic_s()
            await provider.refresh()
            return list(provider.get_non_terminated()), monotonic_s() - began_s

        cloud.instances = ("i-1",)
        assert await refreshed() == (["i-1"], 0.0)
        assert await refreshed() == (["i-1"], 0.0)
        assert cloud.listings == 1
        cloud.instances = ("i-1", "i-2")
        assert await refreshed() == (["i-1", "i-2"], 0.0)
        cloud.harm = ["e1"]
        assert await refreshed() == (["i-1", "i-2"], 2.0)
        assert await refreshed() == (["i-1", "i-2"], 2.0)
        assert cloud.listings == 4
        cloud.harm, cloud.instances = [], ("i-2",)
        assert await refreshed() == (["i-2"], 0.0)

    play(cloud, scene)


def test_harm_that_comes_as_a_listing_is_asked_for_holds_it_up() -> None:
    cloud = SlowCloud(admit_s=2.0)

    async def scene(provider: CloudProvider) -> None:
        began_s = monotonic_s()
        refreshing = asyncio.create_task(provider.refresh())
        await asyncio.sleep(0)
        cloud.harm = ["e1"]
        await refreshing
        assert monotonic_s() - began_s == 2.0

    play(cloud, scene)
