"""Harm that still shows is excused by another injection only where that is on the same node, and may be why."""

from __future__ import annotations

import pytest

import faults
from chaos.events import Event, FaultInjected, NodeJoined
from chaos.fault import Fault, Others
from tests.doubles import FakeCluster, injected, site_of
from tests.faults.test_contract import MADE, victims_of

# Those of which it may be told by looking that harm still shows.
SHOWING = (
    "pause_node", "pause_process", "kill_autoscaler", "kill_operator", "throttle_network", "partition_network",
    "throttle_cpu", "press_memory", "exhaust_file_descriptors", "fill_object_store", "fill_disk", "skew_clock",
    "throttle_disk", "delay_network", "lose_packets", "duplicate_packets", "corrupt_packets", "reorder_packets",
    "flap_network",
)  # fmt: skip
OF_ONE_KIND = (
    "throttle_cpu", "press_memory", "exhaust_file_descriptors", "fill_object_store", "fill_disk", "skew_clock",
    "kill_operator",
)  # fmt: skip
each_that_shows = pytest.mark.parametrize(
    "fault", [faults.ALL[name].model_validate(MADE[name]) for name in SHOWING], ids=SHOWING
)


class Stuck(FakeCluster):
    """What was to be undone shows for ever; `active` is in force."""

    active: tuple[str, ...] = ()

    async def active_effects(self) -> tuple[str, ...]:
        return self.active


def made(fault: str, *victims: str) -> FaultInjected:
    """Another injection, by the name `run.i2`."""
    return FaultInjected(
        injection="i2", fault=fault, victims=victims, due_s=11.0, applied_s=11.0, lateness_s=0.0, effect_id="run.i2"
    )


async def healed(fault: Fault, active: str, *others: FaultInjected, nodes: tuple[str, ...] = ("w1",)) -> str:
    """What is found once the fault was undone, to no avail, while those effects, in words, are in force."""
    cluster = Stuck()
    joined = [NodeJoined(node=n, node_type="gpu", ray_node_id=f"r-{n}", resources={}) for n in ("w1", "w2", "w3")]
    events: list[tuple[float, Event]] = [*((5.0, event) for event in joined), *((11.0, event) for event in others)]
    site = await injected(fault, site_of(cluster, *victims_of(fault, *nodes), events=events))
    cluster.active = tuple(active.split())
    return (await fault.probe_healed(site)).outcome


@each_that_shows
async def test_what_another_injection_does_elsewhere_is_no_excuse(fault: Fault) -> None:
    assert await healed(fault, "run.i2", made("fail_launch")) == "took_effect"
    assert await healed(fault, "run.i2.w9", made("gpu_hang", "w9")) == "took_effect"
    if victims_of(fault, "w1"):
        assert await healed(fault, "run.i2.w9", made(fault.name, "w9")) == "took_effect"


@each_that_shows
async def test_the_same_on_the_same_node_is_and_so_is_what_nobody_has_told_of_yet(fault: Fault) -> None:
    for victim in victims_of(fault, "w1") or ("",):
        both = (victim, "w9") if victim else ()
        assert await healed(fault, f"run.i2.{victim}".removesuffix("."), made(fault.name, *both)) == "no_effect"
        assert await healed(fault, "run.i2.w9") == "no_effect"


@each_that_shows
async def test_another_fault_on_the_same_node_is_where_it_may_look_alike(fault: Fault) -> None:
    (victim,) = victims_of(fault, "w1") or ("w1",)
    seen = await healed(fault, f"run.i2.{victim}", made("toy", victim))
    assert seen == ("took_effect" if fault.name in OF_ONE_KIND else "no_effect")


@pytest.mark.parametrize("name", [name for name in SHOWING if faults.ALL[name].acts_on == "nodes"])
async def test_of_several_victims_each_needs_an_excuse_of_its_own(name: str) -> None:
    fault, nodes = faults.ALL[name].model_validate(MADE[name]), ("w1", "w2")
    for one in nodes:
        assert await healed(fault, f"run.i2.{one}", made(name, one), nodes=nodes) == "took_effect"
    assert await healed(fault, "run.i2.w1 run.i2.w2", made(name, *nodes), nodes=nodes) == "no_effect"


async def test_what_is_done_to_one_peer_is_no_excuse_for_being_cut_off_from_another() -> None:
    fault = faults.ALL["partition_network"].model_validate({"peers": "all"})
    for peer in ("w2", "head"):
        assert await healed(fault, f"run.i2.{peer}", made("delay_network", peer)) == "took_effect"
    assert await healed(fault, "run.i2.w1", made("delay_network", "w1")) == "no_effect"


def test_an_effect_is_the_injections_whose_name_it_begins_with_and_on_the_node_it_ends_with() -> None:
    others = Others(frozenset({"run.i2.w2"}), (made("toy", "w1", "w2"),))
    assert others.explain("w2")
    assert others.explain("w1", "w2", fault="toy")
    assert not others.explain("w1")
    assert not others.explain("w2", fault="tool")
    assert Others(frozenset({"run.i20"}), (made("toy", "w1"),)).explain("w9"), "another's, of which nothing is known"
    assert Others(frozenset({"run.i2"}), (made("toy", "w1"),)).explain("w1")
    assert not Others(frozenset({"run.i2"}), (made("toy", "w1"),)).explain("w2")
    assert not Others().explain()
