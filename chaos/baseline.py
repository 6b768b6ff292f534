"""A baseline: what a fault-free run measured, and why one cannot serve.

The times are measured by the same functions the checkers use (chaos/checkers/measure.py).
"""

from __future__ import annotations

from chaos.checkers.facts import Facts, facts_of
from chaos.checkers.host_not_starved import busy_share
from chaos.checkers.measure import descent, launches, pauses, peak_workers, rises
from chaos.errors import ClusterError
from chaos.events import BaselineKnown, RowsVerified, RunOpened, RunSealed, WorkloadProgressed
from chaos.history import History

_RETRY = "run it again with --rebaseline"


def measure(history: History) -> BaselineKnown:
    """What a fault-free run measured.

    `scale_up_s` is the longest time demand waited for the size it asked for; a demand that grows in steps is measured
    step by step. A cluster of fixed size has 0 for it, for `join_s` and for `scale_down_s`.

    Raises:
        ClusterError: the run cannot serve as a baseline; says why.
    """
    facts = facts_of(history)
    if isinstance(facts, str):
        raise _unusable(facts)
    if reason := _unfit(facts):
        raise _unusable(reason)
    assert facts.load_from_s is not None
    assert facts.load_to_s is not None
    job_s = facts.load_to_s - facts.load_from_s
    rows = max((event.rows_done for _, event in history.of(WorkloadProgressed)), default=0)
    if rows == 0 or job_s <= 0:
        raise _unusable("it recorded no progress")
    scaled = facts.cluster.worker_limit > facts.cluster.min_workers
    met = [rise.duration_s for rise in rises(facts) if rise.grew and not rise.open]
    joins_s = [launch.join_s for launch in launches(facts) if launch.join_s is not None]
    way = descent(facts)
    if scaled and (not met or not joins_s):
        raise _unusable("no demand was met by new workers: the workload is too small to make this cluster scale")
    if scaled and (way is None or way.settled is None):
        raise _unusable(f"the cluster did not go back to its minimum of {facts.cluster.min_workers} after the load")
    opened = history.first(RunOpened)
    assert opened is not None
    return BaselineKnown(
        run_id=opened[1].run_id,
        job_s=job_s,
        rows_per_s=rows / job_s,
        longest_pause_s=max(pause.duration_s for pause in pauses(facts)),
        scale_up_s=max(met, default=0.0),
        scale_down_s=way.duration_s if scaled and way is not None else 0.0,
        join_s=max(joins_s, default=0.0),
        peak_nodes=peak_workers(facts),
        busy_share=busy_share(facts),
    )


def _unfit(facts: Facts) -> str:
    """Why the run is no fault-free, complete run with right results; empty where it is."""
    if facts.cut:
        return facts.cut
    if facts.is_faulty:
        return "faults were injected into it"
    sealed = facts.history.last(RunSealed)
    if sealed is None or sealed[1].reason != "complete":
        return "it did not complete before its deadline"
    if facts.load_from_s is None or facts.load_to_s is None:
        return "its job never began, or its end was not recorded"
    if facts.outcome != "ok":
        return f"its job ended as {facts.outcome!r}, without any fault"
    verified = facts.history.last(RowsVerified)
    if verified is None:
        return "its output was not compared with the right one"
    rows = verified[1]
    wrong = rows.missing_count + rows.duplicated_count + rows.wrong_count + rows.unexpected_count
    return f"{wrong} of its rows are not right, without any fault" if wrong else ""


def _unusable(reason: str) -> ClusterError:
    return ClusterError(f"the fault-free run cannot serve as a baseline: {reason}; see its report, then {_RETRY}")
