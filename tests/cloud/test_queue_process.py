"""The process of a network is started, told, asked again and ended; where it cannot run, that is said."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from chaos.cloud.namespaces import run_in_network
from chaos.cloud.packet_queue import HOLDS, Hold, Orders
from chaos.cloud.queue_process import QueueProcess
from chaos.errors import InjectionError
from tests.cloud.netns import Pair, pair, why_no_rules

pytestmark = pytest.mark.skipif(bool(why_no_rules()), reason=why_no_rules())

ORDERS = Orders((Hold(HOLDS[0], 5.0),))
QUEUES = "cat /proc/self/net/netfilter/nfnetlink_queue"


@pytest_asyncio.fixture
async def ends() -> AsyncIterator[Pair]:
    with pair() as ends:
        yield ends


async def test_it_is_there_once_it_has_obeyed_and_gone_once_ended(ends: Pair) -> None:
    queue = QueueProcess(ends.near)
    await queue.obey(ORDERS)
    assert len((await run_in_network(ends.near, QUEUES)).splitlines()) == 2
    await queue.obey(Orders((Hold(HOLDS[0], 9.0),), content=True))
    await queue.end()
    await queue.end()
    assert await run_in_network(ends.near, QUEUES) == ""


async def test_of_two_the_second_cannot_be(ends: Pair) -> None:
    first, second = QueueProcess(ends.near), QueueProcess(ends.near)
    await first.obey(ORDERS)
    with pytest.raises(InjectionError, match="packet queue process"):
        await second.obey(ORDERS)
    await first.end()


async def test_where_the_node_is_gone_it_cannot_be() -> None:
    with pytest.raises(InjectionError, match="packet queue process"):
        await QueueProcess(2**22 - 1).obey(ORDERS)
