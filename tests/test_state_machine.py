"""State machines over the twin: what passes, what is found, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from chaos.cluster_spec import ClusterSpec
from chaos.errors import InvalidSpec
from chaos.events import FaultHealed, FaultInjected, RowsVerified
from chaos.fault import Fault
from chaos.state_machine import ClusterMachine
from chaos.workload import ModelSite
from faults.delay_launch import DelayLaunch
from faults.kill_node import KillNode
from faults.pause_node import PauseNode
from faults.preempt_node import PreemptNode
from faults.throttle_network import ThrottleNetwork
from workloads import OpenLoad

WORKLOAD = OpenLoad(batches_limit=16)


def play(machine: type[ClusterMachine], *, examples: int = 8, **options: Any) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=8,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            **options,
        ),
    )


class Hardy(ClusterMachine):
    workload = WORKLOAD
    faults: ClassVar[Sequence[Fault]] = (KillNode(), PauseNode(), DelayLaunch(delay_s=5.0), PreemptNode())
    ended: ClassVar[list[RowsVerified]] = []
    seen: ClassVar[set[str]] = set()

    def teardown(self) -> None:
        super().teardown()
        Hardy.seen |= {type(record.event).__name__ for record in self.history}
        Hardy.ended += [event for _, event in self.history.of(RowsVerified)]


def test_what_survives_passes_with_every_row_right() -> None:
    play(Hardy, examples=10)
    assert len(Hardy.ended) >= 10
    assert all(event.rows_found == event.rows_expected == WORKLOAD.rows_total for event in Hardy.ended)
    assert {FaultInjected.__name__, FaultHealed.__name__} <= Hardy.seen


class Careless(OpenLoad):
    """Planted: leaves the last row out."""

    async def _play_rows(self, site: ModelSite, first: int, end: int) -> None:
        place = await site.hold(self.bundles()[0])
        await place.compute(range(first * self.batch_rows, end * self.batch_rows - 1), 1.0)
        place.let_go()


def test_a_planted_loss_of_rows_is_found() -> None:
    class Losing(Hardy):
        workload = Careless(batches_limit=16)
        faults = (KillNode(),)

    with pytest.raises(AssertionError, match="rows_exactly_once"):
        play(Losing, phases=[Phase.generate])


def test_invariants_of_ones_own_see_what_has_happened() -> None:
    class Own(Hardy):
        faults = (DelayLaunch(delay_s=5.0),)

        @invariant()
        def nothing_is_late(self) -> None:
            assert not self.history.of(FaultInjected), "a launch is late"

    with pytest.raises(AssertionError, match="a launch is late"):
        play(Own, phases=[Phase.generate])


@pytest.mark.parametrize(
    ("fault", "told"),
    [(ThrottleNetwork(rate_mbit=1.0), "throttle_network needs ShapesNetworks, which a sim cluster does not have")],
)
def test_what_the_cluster_cannot_do_is_refused(fault: Fault, told: str) -> None:
    class Wishful(Hardy):
        cluster = ClusterSpec(kind="sim")
        faults = (fault,)

    with pytest.raises(InvalidSpec, match=told):
        play(Wishful, phases=[Phase.generate])
