"""No instance stays in a state of passage for longer than that state's own timeout."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.checker import Verdict
from chaos.checkers.cost import Explained, explained, faults_cost_s
from chaos.checkers.facts import Facts
from chaos.checkers.instance_log import InstanceProperty, Row, Step
from chaos.events import CloudAnsweredWrong, FaultInjected

# Ray's defaults, in seconds, and the variable of the head's that sets another (ray.autoscaler.v2's
# InstanceReconcileConfig). What has none is left at the next update.
_TIMEOUTS_S = {
    "REQUESTED": ("REQUEST", 600.0),
    "ALLOCATED": ("ALLOCATE", 3600.0),
    "RAY_INSTALLING": ("RAY_INSTALL", 1800.0),
    "TERMINATING": ("TERMINATING", 300.0),
    "RAY_STOP_REQUESTED": ("RAY_STOP_REQUESTED", 300.0),
}
_AT_ONCE = ("RAY_STOPPED", "RAY_INSTALL_FAILED", "ALLOCATION_TIMEOUT", "TERMINATION_FAILED")


class TimeoutsKept(InstanceProperty):
    """The autoscaler leaves no instance in a transient state for longer than Ray's own timeout for that state.

    States without a timeout that are to be left at the next update have none to wait for; `QUEUED` and `RAY_STOPPING`
    may last. Faults do not excuse a stay: what is slow or lost is what the timeouts are for. Only those do that keep
    the autoscaler itself from its updates: on the head, or on a Cloud that does not answer.
    **Bound**: the timeout, two updates, the slack, and what those faults cost.
    """

    name = "timeouts_kept"

    def judge_rows(self, facts: Facts, found: tuple[Row, ...]) -> Verdict:
        """Fails on the longest stay that is beyond its bound."""
        over = stays(facts, found)
        if not over:
            return self.verdict("pass", "no instance was in a state with a timeout", [found[0].steps[0].record])
        late_s, lasted_s, bound_s, step = max(over, key=lambda one: one[0])
        told = f"an instance of type {step.node_type or '?'} was {step.after} for {lasted_s:.1f} s"
        return self.verdict(
            "fail" if late_s > 0 else "pass",
            f"{told} from {step.t_s:.1f} s on",
            [step.record],
            measured=lasted_s,
            bound=bound_s,
            unit="s",
        )


def stays(facts: Facts, found: Iterable[Row]) -> list[tuple[float, float, float, Step]]:
    """How late each state that has a timeout was left, how long it lasted in all, the bound, and how it came to be."""
    spans = _held_up(facts)
    return [one for row in found for one in _stays(facts, row, spans)]


def _held_up(facts: Facts) -> list[Explained]:
    """The times in which a fault kept the autoscaler from its updates."""
    wrong = ("unreachable", "failed", "slow")
    effects = {event.effect for _, event in facts.history.of(CloudAnsweredWrong) if event.how in wrong}
    faults = {
        event.injection
        for _, event in facts.history.of(FaultInjected)
        if "head" in event.victims or event.effect_id in effects
    }
    return [span for span in explained(facts) if span.injection in faults]


def _stays(facts: Facts, row: Row, spans: list[Explained]) -> list[tuple[float, float, float, Step]]:
    found = []
    for step, left_s in row.stays:
        timeout_s = _timeout_s(facts, step.after)
        if timeout_s is None:
            continue
        to_s = min(left_s, facts.watched_to_s)
        lasted_s = max(0.0, to_s - step.t_s)
        bound_s = timeout_s + 2.0 * facts.cluster.update_interval_s + facts.bounds.slack_s
        bound_s += faults_cost_s(spans, from_s=step.t_s, to_s=max(step.t_s, to_s))
        found.append((lasted_s - bound_s, lasted_s, bound_s, step))
    return found


def _timeout_s(facts: Facts, status: str) -> float | None:
    if status in _AT_ONCE:
        return 0.0
    if status not in _TIMEOUTS_S:
        return None
    name, usual_s = _TIMEOUTS_S[status]
    given = facts.cluster.ray_environment.get(f"RAY_AUTOSCALER_RECONCILE_{name}_STATUS_TIMEOUT_S")
    return usual_s if given is None else float(given)
