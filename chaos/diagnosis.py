"""Why a run did not pass: which of four causes the history speaks for.

Too few or misconfigured resources, an autoscaler slower than expected, a passing fault of the infrastructure, or a
threshold that is too strict. A diagnosis is a reading of the evidence, not a proof; it never changes a verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, TypeAlias

from chaos.checker import Verdict, merge
from chaos.checkers.cost import Explained, Loss, explained, losses
from chaos.checkers.facts import Facts, facts_of, in_time
from chaos.checkers.measure import Launch, Rise, launches, pauses, rises
from chaos.checkers.promises import Broken, broken_promises, first_of
from chaos.demand import describe, live_workers, wanted
from chaos.events import AutoscalerLogged, ClusterSampled, NodeLaunchFailed
from chaos.history import History, Record
from chaos.value import Value

Cause: TypeAlias = Literal["resources", "autoscaler", "infrastructure", "threshold"]
Confidence: TypeAlias = Literal["likely", "possible"]
Sampled: TypeAlias = tuple[Record, ClusterSampled]

CAUSES: dict[Cause, str] = {
    "resources": "too few or misconfigured resources",
    "autoscaler": "an autoscaler slower than expected",
    "infrastructure": "a passing fault of the infrastructure",
    "threshold": "a threshold that is too strict",
}
NOISE = 1.25
_EVIDENCE_LIMIT = 20
_SAMPLE_LAG_S = 2.0
_TIMED = ("scale_up_converges", "scale_down_converges", "stayed_live", "no_overshoot")


class Diagnosis(Value):
    """One cause the history speaks for; `evidence` are history sequence numbers."""

    cause: Cause
    confidence: Confidence
    summary: str
    evidence: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """One line for people."""
        return f"{self.confidence}: {CAUSES[self.cause]}: {self.summary}"


def diagnose(history: History, verdicts: Sequence[Verdict]) -> tuple[Diagnosis, ...]:
    """The causes a failed or inconclusive run's history speaks for, the likeliest first; none for one that passed."""
    if merge(verdict.verdict for verdict in verdicts) == "pass":
        return ()
    facts = facts_of(history)
    if isinstance(facts, str):
        return ()
    failed = {verdict.name: verdict for verdict in verdicts if verdict.verdict == "fail"}
    open_ = {verdict.name: verdict for verdict in verdicts if verdict.verdict == "inconclusive"}
    found = [
        *_resources(facts, failed),
        *_autoscaler(facts, failed),
        *_infrastructure(facts, failed, open_),
        *_threshold(facts, failed),
    ]
    best: dict[Cause, Diagnosis] = {}
    for one in sorted(found, key=lambda one: one.confidence != "likely"):
        known = best.get(one.cause)
        best[one.cause] = one if known is None else _joined(known, one)
    order = list(CAUSES)
    return tuple(sorted(best.values(), key=lambda one: (one.confidence != "likely", order.index(one.cause))))


def _joined(known: Diagnosis, more: Diagnosis) -> Diagnosis:
    evidence = dict.fromkeys((*known.evidence, *more.evidence))
    return known.model_copy(
        update={"summary": f"{known.summary}; {more.summary}", "evidence": tuple(evidence)[:_EVIDENCE_LIMIT]}
    )


def _say(cause: Cause, *, likely: bool, summary: str, evidence: Sequence[Record]) -> Diagnosis:
    seqs = tuple(dict.fromkeys(record.seq for record in evidence))[:_EVIDENCE_LIMIT]
    return Diagnosis(cause=cause, confidence="likely" if likely else "possible", summary=summary, evidence=seqs)


def requested_and_allocated(facts: Facts, sampled: Record) -> str:
    """What is asked for beside what is there, of the same moment and in the same units."""
    sample, cluster = sampled.event, facts.cluster_at(sampled.t_s)
    assert isinstance(sample, ClusterSampled)
    asked: Counter[str] = Counter()
    for demand in sample.demands:
        asked[describe(demand.shape)] += demand.count
    there = Counter(view.node_type for view in live_workers(sample))
    types = ", ".join(f"{name} {there[name]}/{kind.max_workers}" for name, kind in cluster.node_types.items())
    requested = ", ".join(f"{count} x {shape}" for shape, count in sorted(asked.items())) or "nothing"
    free: Counter[str] = Counter()
    for view in live_workers(sample):
        free.update(view.available)
    left = describe({name: amount for name, amount in free.items() if amount > 0})
    size = f"{len(live_workers(sample))} of {cluster.worker_limit} workers"
    return f"requested and waiting: {requested}; allocated: {size} ({types}), free on them {left}"


# -- too few or misconfigured resources ---------------------------------------------------------------------


def _resources(facts: Facts, failed: dict[str, Verdict]) -> list[Diagnosis]:
    samples = [(r, s) for r, s in facts.load_samples() if any(d.count > 0 for d in s.demands)]
    if not samples:
        return []
    if broken := broken_promises(facts):
        # What such nodes leave waiting looks like demand that is infeasible, or waits at the maximum.
        return [_misconfigured(facts, failed, broken, samples[-1][0])]
    unfit = _unfit(facts, failed, samples)
    return [*unfit, *_capped(facts, failed, samples, likely=not unfit)]


def _misconfigured(facts: Facts, failed: dict[str, Verdict], broken: Sequence[Broken], sampled: Record) -> Diagnosis:
    return _say(
        "resources",
        likely="scale_up_converges" in failed,
        summary=f"nodes are configured otherwise than the autoscaler believes: {first_of(broken)};"
        f" {requested_and_allocated(facts, sampled)}",
        evidence=[record for one in broken for record in one.evidence],
    )


def _unfit(facts: Facts, failed: dict[str, Verdict], samples: Sequence[Sampled]) -> list[Diagnosis]:
    unfit = [(r, s) for r, s in samples if wanted(s, facts.cluster_at(r.t_s)).unfit or s.infeasible]
    if not unfit:
        return []
    record, sample = unfit[-1]
    shapes = ", ".join(describe(d.shape) for d in wanted(sample, facts.cluster_at(record.t_s)).unfit)
    what = f"demand {shapes}" if shapes else "demand the autoscaler calls infeasible"
    to_the_end = record.seq == samples[-1][0].seq and len(unfit) > 1
    stuck = bool(failed.keys() & {"job_completes", "scale_up_converges", "stayed_live"})
    return [
        _say(
            "resources",
            likely=stuck and to_the_end,
            summary=f"{what} fits no node type at {record.t_s:.1f} s{', to the end' if to_the_end else ''};"
            f" {requested_and_allocated(facts, record)}",
            evidence=[unfit[0][0], record],
        )
    ]


def _capped(facts: Facts, failed: dict[str, Verdict], samples: Sequence[Sampled], *, likely: bool) -> list[Diagnosis]:
    capped = [(r, s) for r, s in samples if (asked := wanted(s, facts.cluster_at(r.t_s))).capped and not asked.least]
    if len(capped) <= len(samples) / 2 or not failed.keys() & {"job_completes", "stayed_live"}:
        return []
    record, _ = max(capped, key=lambda pair: wanted(pair[1], facts.cluster_at(pair[0].t_s)).capped)
    slow = "job_completes" in failed and "stayed_live" not in failed
    return [
        _say(
            "resources",
            likely=slow and likely,
            summary=f"demand waited at the maximum of workers in {len(capped)} of {len(samples)} samples;"
            f" {requested_and_allocated(facts, record)}",
            evidence=[capped[0][0], record, capped[-1][0]],
        )
    ]


# -- an autoscaler slower than expected ---------------------------------------------------------------------


def _autoscaler(facts: Facts, failed: dict[str, Verdict]) -> list[Diagnosis]:
    found = []
    late = failed.get("scale_up_converges")
    if late is not None and late.unit == "s" and (rise := _worst_rise(facts)) is not None:
        found += _slow_rise(facts, rise)
    if "scale_down_converges" in failed or "no_overshoot" in failed:
        verdict = failed.get("scale_down_converges") or failed["no_overshoot"]
        own = [facts.history[seq] for seq in verdict.evidence]
        found.append(
            _say("autoscaler", likely="no_overshoot" in failed, summary=verdict.summary, evidence=own),
        )
    bad = [(r, e) for r, e in facts.history.of(AutoscalerLogged) if e.about in ("stuck", "no_state", "error")]
    if bad and failed:
        counts = Counter(event.about for _, event in bad)
        told = ", ".join(f"{count} x {about}" for about, count in counts.most_common())
        found.append(
            _say(
                "autoscaler",
                likely=bool({"stuck", "no_state"} & counts.keys()) and "scale_up_converges" in failed,
                summary=f"its log tells of trouble ({told}): {bad[0][1].text[:160]}",
                evidence=[record for record, _ in bad],
            )
        )
    return found


def _worst_rise(facts: Facts) -> Rise | None:
    return max(rises(facts), key=lambda rise: rise.duration_s, default=None)


def _slow_rise(facts: Facts, rise: Rise) -> list[Diagnosis]:
    """Where the time went: demand seen -> launching -> started -> joined."""
    own = [one for one in launches(facts) if rise.from_s - _SAMPLE_LAG_S <= one.launching.t_s <= rise.to_s]
    aligned = requested_and_allocated(facts, rise.last)
    evidence = [rise.first, rise.last, *(one.launching for one in own)]
    if not own:
        told = f"in {rise.duration_s:.1f} s it asked for no launch, though {rise.size} workers were wanted; {aligned}"
        return [_say("autoscaler", likely=True, summary=told, evidence=evidence)]
    decision_s = max(0.0, own[0].launching.t_s - rise.from_s)
    usual_s = 2.0 * facts.cluster.update_interval_s + _SAMPLE_LAG_S
    join_s, usual_join_s = _slowest_join(own, rise.to_s), facts.baseline.join_s if facts.baseline else None
    told = (
        f"of {rise.duration_s:.1f} s, {decision_s:.1f} s passed from demand to the first launch (usual: up to"
        f" {usual_s:.1f} s) and up to {join_s:.1f} s from a launch to the node's joining"
        f"{'' if usual_join_s is None else f' (baseline: {usual_join_s:.1f} s)'}; {aligned}"
    )
    gap_s = max(0.0, own[-1].launching.t_s - own[0].launching.t_s)
    if gap_s > usual_s:
        told = f"its launches were spread over {gap_s:.1f} s; {told}"
    coming = sum(1 for one in own if one.joined is None or one.joined.t_s > rise.to_s)
    unasked = rise.size - rise.present - coming
    if unasked > 0:
        told = f"it never asked for {unasked} of the {rise.size} workers wanted; {told}"
        return [_say("autoscaler", likely=True, summary=told, evidence=evidence)]
    late = decision_s > usual_s or gap_s > usual_s
    excess_join_s = 0.0 if usual_join_s is None else join_s - facts.bounds.factor * usual_join_s
    return [_say("autoscaler", likely=late and max(decision_s, gap_s) > excess_join_s, summary=told, evidence=evidence)]


def _slowest_join(own: Sequence[Launch], until_s: float) -> float:
    return max((until_s if one.joined is None else one.joined.t_s) - one.launching.t_s for one in own)


# -- a passing fault of the infrastructure ------------------------------------------------------------------


def _infrastructure(facts: Facts, failed: dict[str, Verdict], open_: dict[str, Verdict]) -> list[Diagnosis]:
    found = []
    if starved := open_.get("host_not_starved"):
        evidence = [facts.history[seq] for seq in starved.evidence]
        if evidence:
            found.append(_say("infrastructure", likely=True, summary=starved.summary, evidence=evidence))
    unasked = [loss for loss in losses(facts) if loss.injection is None and loss.lost_s < _rest_s(facts)]
    if unasked:
        found.append(_say_lost(unasked))
    spans = explained(facts)
    unexplained = [
        (r, e)
        for r, e in in_time(facts.history.of(NodeLaunchFailed))
        if not any(span.from_s <= r.t_s <= span.to_s for span in spans)
    ]
    if unexplained:
        event = unexplained[0][1]
        count = sum(e.count for _, e in unexplained)
        found.append(
            _say(
                "infrastructure",
                likely="scale_up_converges" in failed,
                summary=f"{count} launch(es) failed that no fault was to fail: {event.reason[:160]}",
                evidence=[record for record, _ in unexplained],
            )
        )
    found += _blind(facts)
    if near := _near_failure(facts, failed, spans):
        names = ", ".join(f"{span.injection} ({span.fault}, {span.from_s:.1f}-{span.to_s:.1f} s)" for span in near)
        found.append(
            _say(
                "infrastructure",
                likely=False,
                summary=f"injected faults overlap the failure, which lasted longer than they explain: {names}",
                evidence=[span.record for span in near],
            )
        )
    return found


def _say_lost(unasked: Sequence[Loss]) -> Diagnosis:
    names = ", ".join(f"{loss.node} at {loss.lost_s:.1f} s" for loss in unasked)
    return _say(
        "infrastructure",
        likely=True,
        summary=f"nodes died that no fault was aimed at: {names}",
        evidence=[loss.record for loss in unasked],
    )


def _blind(facts: Facts) -> list[Diagnosis]:
    """The GCS did not answer for most of the load."""
    to_s = facts.watched_to_s if facts.load_to_s is None else facts.load_to_s
    if facts.load_from_s is None:
        return []
    samples = [(r, s) for r, s in facts.history.of(ClusterSampled, since_s=facts.load_from_s) if r.t_s <= to_s]
    silent = [record for record, sample in samples if not sample.reachable]
    if not silent or len(silent) * 4 < len(samples):
        return []
    told = f"the GCS did not answer in {len(silent)} of {len(samples)} samples"
    return [_say("infrastructure", likely=len(silent) * 2 > len(samples), summary=told, evidence=silent)]


def _rest_s(facts: Facts) -> float:
    return facts.watched_to_s if facts.load_to_s is None else facts.load_to_s


def _near_failure(facts: Facts, failed: dict[str, Verdict], spans: Sequence[Explained]) -> list[Explained]:
    near: dict[str, Explained] = {}
    for verdict in failed.values():
        times = [facts.history[seq].t_s for seq in verdict.evidence]
        if times and verdict.name in _TIMED:
            near |= {one.injection: one for one in spans if one.from_s <= max(times) and one.to_s >= min(times)}
    return list(near.values())


# -- a threshold that is too strict -------------------------------------------------------------------------


def _threshold(facts: Facts, failed: dict[str, Verdict]) -> list[Diagnosis]:
    found = []
    for name in _TIMED:
        verdict = failed.get(name)
        if verdict is None or verdict.unit != "s" or not verdict.measured or not verdict.bound:
            continue
        over = verdict.measured / verdict.bound
        if over <= NOISE:
            found.append(
                _say(
                    "threshold",
                    likely=True,
                    summary=f"{name}: {verdict.measured:.1f} s is {over - 1:.0%} over its bound of"
                    f" {verdict.bound:.1f} s, within the noise of a measurement;"
                    " raise bounds.factor or bounds.slack_s, or measure the baseline anew (--rebaseline)",
                    evidence=[facts.history[seq] for seq in verdict.evidence],
                )
            )
    found += _deadline(facts, failed)
    return found


def _deadline(facts: Facts, failed: dict[str, Verdict]) -> list[Diagnosis]:
    """The deadline came while the job still moved, or before baseline and faults together could be over."""
    if "job_completes" not in failed or facts.load_from_s is None or facts.outcome not in ("hung", ""):
        return []
    moments = pauses(facts)
    if facts.baseline is None or facts.deadline_s is None or not moments:
        return []
    cost_s = sum(span.to_s - span.from_s for span in explained(facts))
    needed_s = facts.over(facts.baseline.job_s, faults_cost_s=cost_s)
    quiet_s = moments[-1].duration_s
    moving = len(moments) > 1 and quiet_s <= facts.over(facts.baseline.longest_pause_s) and "stayed_live" not in failed
    if facts.deadline_s >= needed_s and not moving:
        return []
    told = (
        f"deadline_s is {facts.deadline_s:g}; baseline and faults explain up to {needed_s:.1f} s,"
        f" and the last progress was {quiet_s:.1f} s before the end"
    )
    return [
        _say("threshold", likely=moving and facts.deadline_s < needed_s, summary=told, evidence=[moments[-1].first])
    ]
