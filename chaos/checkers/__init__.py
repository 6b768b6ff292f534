"""The checkers: one property a file, all listed here, and `evaluate` to judge a history by them."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.checker import Checker, Verdict
from chaos.checkers.ends_have_reasons import EndsHaveReasons
from chaos.checkers.faults_took_effect import FaultsTookEffect
from chaos.checkers.host_not_starved import HostNotStarved
from chaos.checkers.instances_accounted import InstancesAccounted
from chaos.checkers.job_completes import JobCompletes
from chaos.checkers.no_busy_ends import NoBusyEnds
from chaos.checkers.no_double_ends import NoDoubleEnds
from chaos.checkers.no_leaked_nodes import NoLeakedNodes
from chaos.checkers.no_oscillation import NoOscillation
from chaos.checkers.no_overshoot import NoOvershoot
from chaos.checkers.nothing_left_behind import NothingLeftBehind
from chaos.checkers.rows_exactly_once import RowsExactlyOnce
from chaos.checkers.scale_down_converges import ScaleDownConverges
from chaos.checkers.scale_up_converges import ScaleUpConverges
from chaos.checkers.state_stays_bounded import StateStaysBounded
from chaos.checkers.stayed_live import StayedLive
from chaos.checkers.timeouts_kept import TimeoutsKept
from chaos.checkers.updates_succeed import UpdatesSucceed
from chaos.history import History

ALL: tuple[Checker, ...] = (
    JobCompletes(),
    RowsExactlyOnce(),
    ScaleUpConverges(),
    ScaleDownConverges(),
    NoOvershoot(),
    NoLeakedNodes(),
    UpdatesSucceed(),
    NoBusyEnds(),
    EndsHaveReasons(),
    NoDoubleEnds(),
    InstancesAccounted(),
    TimeoutsKept(),
    StateStaysBounded(),
    NoOscillation(),
    StayedLive(),
    FaultsTookEffect(),
    HostNotStarved(),
    NothingLeftBehind(),
)


def evaluate(history: History, checkers: Sequence[Checker] = ALL) -> tuple[Verdict, ...]:
    """The verdict of each checker, in order; a crashing one is inconclusive and names its exception (Jepsen's rule)."""
    return tuple(_verdict(history, checker) for checker in checkers)


def _verdict(history: History, checker: Checker) -> Verdict:
    try:
        return checker(history)
    except Exception as error:  # noqa: BLE001 -- whatever a checker raises, the others must still be heard
        return Verdict(
            name=checker.name,
            verdict="inconclusive",
            summary=f"the checker crashed, which is a bug in it: {type(error).__name__}: {error}",
        )
