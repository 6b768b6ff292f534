"""Shapes become one wish a network; cuts that flap are turned on and off, and stay off once nothing is in force."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass

import pytest

from chaos.cloud.instances import Instance
from chaos.cloud.network import NetworkShaper
from chaos.cloud.networks import Kernel, Networks, connections_of
from chaos.cloud.packets import Wanted
from chaos.errors import InjectionError
from chaos.harm import NetworkShape

NODE = Instance(instance="i-00001", node="w1", node_type="gpu", state="running").model_copy(update={"handle": "c1"})
ADDRESSES = {"head": "10.0.0.1"}


@dataclass
class Toy:
    """A process that lives as long as it is said to."""

    pid: int = 7
    lives: bool = True

    def alive(self) -> bool:
        return self.lives


class Recording(NetworkShaper):
    """Does nothing, and remembers each change."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Wanted] = []
        self.fifth = asyncio.Event()

    async def shape(self, pid: int, wanted: Wanted) -> None:
        if not self.seen or self.seen[-1] != wanted:
            self.seen.append(wanted)
        if len(self.seen) >= 5:
            self.fifth.set()


def networks(shaper: NetworkShaper, kernel: Toy | None) -> Networks:
    async def kernel_of(_instance: Instance) -> Kernel | None:
        return kernel

    return Networks(shaper, kernel_of)


async def test_a_cut_that_flaps_comes_and_goes_until_it_is_healed() -> None:
    shaper = Recording()
    enforcer = networks(shaper, Toy())
    flapping = NetworkShape(cut=True, peers=("head",), down_s=0.02, up_s=0.02)
    slow = NetworkShape(rate_mbit=5.0)
    await enforcer.obey(NODE, [flapping, slow], addresses=ADDRESSES)
    assert len(shaper.seen[0].cuts) == 1, "down first"
    await asyncio.wait_for(shaper.fifth.wait(), 5.0)
    assert [len(wanted.cuts) for wanted in shaper.seen[:5]] == [1, 0, 1, 0, 1]
    assert {wanted.rate_mbit for wanted in shaper.seen} == {5.0}
    await enforcer.obey(NODE, [slow], addresses=ADDRESSES)
    assert shaper.seen[-1].cuts == ()
    assert enforcer.flapping == ()


async def test_a_node_that_is_gone_obeys_nothing_and_only_that() -> None:
    for kernel in (None, Toy(lives=False)):
        enforcer = networks(Recording(), kernel)
        await enforcer.obey(NODE, [], addresses={})
        with pytest.raises(InjectionError, match="w1 is gone"):
            await enforcer.obey(NODE, [NetworkShape(cut=True)], addresses={})


def test_connections_with_itself_are_not_listed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        ports = {item.peer_port for item in connections_of(os.getpid(), {"head": "127.0.0.1"})}
        assert server.getsockname()[1] not in ports
