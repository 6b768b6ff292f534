"""After the load the cluster goes back to its minimum."""

from __future__ import annotations

from chaos.checker import Verdict
from chaos.checkers.cost import explained, faults_cost_s
from chaos.checkers.facts import Facts, facts_of
from chaos.checkers.measure import descent, longest_idle_timeout_s, peak_workers
from chaos.checkers.property import Property
from chaos.demand import all_workers
from chaos.history import History

_UPDATES = 2  # Ray's autoscaler v2: RAY_STOP_REQUESTED in one, TERMINATING in a later one


def scale_down_bound_s(facts: Facts, *, faults_cost_s: float = 0.0) -> float | None:
    """How long the way back to the minimum may take; None without a baseline.

    The idle timeout is waited for once, it is not multiplied: only what the baseline took beyond it is. That is at
    least two updates, one that ends Ray on a node and one that ends its instance: a baseline whose last nodes had been
    idle before its load ended shows less.
    """
    if facts.baseline is None:
        return None
    idle_s = longest_idle_timeout_s(facts)
    beyond_s = max(_UPDATES * facts.cluster.update_interval_s, facts.baseline.scale_down_s - idle_s)
    return idle_s + facts.over(beyond_s, faults_cost_s=faults_cost_s)


def watch_at_least_s(history: History) -> float | None:
    """How long after the load the cluster must be watched for a verdict; None without a baseline or a load's end."""
    facts = facts_of(history)
    if isinstance(facts, str) or facts.load_to_s is None:
        return None
    cost_s = faults_cost_s(explained(facts, scaling=True), from_s=facts.load_to_s, to_s=float("inf"))
    return scale_down_bound_s(facts, faults_cost_s=cost_s)


class ScaleDownConverges(Property):
    """When the load has ended, workers go away until each type has its minimum, and stay away.

    Assumes that faults are healed before the phase `idle`, that a driver that ended by itself gives back what it asked
    of the autoscaler (one that had to be killed does not, for minutes: then a late scale-down is inconclusive), and
    that the engine watches at least as long as the bound.
    """

    name = "scale_down_converges"

    def judge(self, facts: Facts) -> Verdict:
        """Fails when the minimum is not reached within idle timeout, baseline's factor, faults' cost and slack."""
        if facts.felled is not None and facts.headless:
            return self.not_owed("without a head there is no autoscaler, and no scaling is", facts.felled)
        way = descent(facts)
        if way is None:
            return self.verdict("inconclusive", "the cluster was not sampled after the load had ended")
        if facts.cluster.worker_limit > facts.cluster.min_workers >= peak_workers(facts):
            return self.verdict(
                "inconclusive", "the cluster was never above its minimum, so there was nothing to scale down"
            )
        last = way.settled or way.last
        evidence = [way.began, last]
        took_s, minimum = way.duration_s, facts.cluster.min_workers
        cost_s = faults_cost_s(explained(facts, scaling=True), from_s=way.began.t_s, to_s=last.t_s)
        bound_s = scale_down_bound_s(facts, faults_cost_s=cost_s)
        unproven = ""
        if way.settled is None:
            left = ", ".join(sorted(all_workers(facts.samples()[-1][1]))) or "none"
            told = f"{took_s:.1f} s after the load: workers {left}, minimum {minimum}"
            unproven = "not watched long enough"
        else:
            told = f"at the minimum of {minimum} worker(s) {took_s:.1f} s after the load"
        late = way.settled is None or (bound_s is not None and took_s > bound_s)
        if late and facts.outcome != "ok":
            held = f"{told}; the job did not end well and may still have held requests"
            return self.verdict("inconclusive", held, evidence, measured=took_s, bound=bound_s, unit="s")
        return self.timed(told, evidence, took_s=took_s, bound_s=bound_s, cost_s=cost_s, unproven=unproven)
