"""One line per event that a person watching a run, or reading its report, wants to see."""

from __future__ import annotations

from collections.abc import Sequence

from chaos import events as e

PASSED, FAILED, UNSURE = "✓", "✗", "?"
MARKS = {"pass": PASSED, "fail": FAILED, "inconclusive": UNSURE}
WORDS = {"pass": "PASS", "fail": "FAIL", "inconclusive": "INCONCLUSIVE"}


def number(value: float) -> str:
    """The number with about three significant digits, without an exponent where people would not write one."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if abs(value) >= 100 or float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def quantity(value: float | None, unit: str) -> str:
    """A number with its unit; a dash for none."""
    return "–" if value is None else f"{number(value)} {unit}".strip()


def listed(names: Sequence[str], *, most: int = 6) -> str:
    """Names with commas; past `most`, how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def describe(event: e.Event) -> str | None:
    """The event in words; None for samples, progress and other events too many to list."""
    return _of_run(event) or _of_nodes(event) or _of_workload(event) or _of_faults(event)


def _of_run(event: e.Event) -> str | None:
    if isinstance(event, e.RunOpened):
        return f"run {event.run_id} on {event.cluster}, seed {event.seed}, schedule {event.schedule_hash}"
    if isinstance(event, e.PhaseBegan):
        return f"phase {event.phase}"
    if isinstance(event, e.RunSealed):
        return f"run ended: {event.reason}" + (f" ({event.message})" if event.message else "")
    if isinstance(event, e.SurvivalExpected):
        return f"expected to {'survive' if event.survives else 'fail'}: {event.reason}"
    if isinstance(event, e.RunAborted):
        told = event.detail or f"{quantity(event.measured, event.unit)}, limit {number(event.limit)}"
        return f"ABORTED by {event.condition}: {told}"
    if isinstance(event, e.BaselineKnown):
        return f"baseline: job {number(event.job_s)} s, {number(event.rows_per_s)} rows/s, {event.peak_nodes} nodes"
    if isinstance(event, e.CleanlinessChecked):
        return f"left behind: {listed(event.leftovers)}" if event.leftovers else "nothing left behind"
    return None


def _of_nodes(event: e.Event) -> str | None:
    if isinstance(event, e.NodeLaunching):
        return f"{event.node} asked for ({event.node_type})"
    if isinstance(event, e.NodeStarted):
        return f"{event.node} started"
    if isinstance(event, e.NodeLaunchFailed):
        who = event.node or f"{event.count} × {event.node_type}"
        return f"launch of {who} failed: {event.reason}"
    if isinstance(event, e.NodeJoined):
        return f"{event.node} joined the cluster"
    if isinstance(event, e.NodeDied):
        return f"{event.node} is dead, says the GCS"
    if isinstance(event, e.NodeTerminating):
        return f"{event.node} is being terminated by the autoscaler"
    if isinstance(event, e.NodeTerminated):
        return f"{event.node} is gone ({event.cause})"
    if isinstance(event, (e.CloudAnsweredWrong, e.GcsAnsweredWrong)):
        return f"Ray was answered wrongly: {event.how.replace('_', ' ')} × {event.count}" + (
            f" ({event.detail})" if event.detail else ""
        )
    if isinstance(event, e.ConfigChanged):
        types = [f"{name} {kind.min_workers}–{kind.max_workers}" for name, kind in event.node_types.items()]
        how = "restored" if event.undone else "edited"
        return f"configuration {how}: at most {event.max_workers} workers; {listed(types) or 'no node type'}"
    if isinstance(event, e.AutoscalerLogged) and event.about != "instance":
        return f"autoscaler: {event.text}"
    return None


def _of_workload(event: e.Event) -> str | None:
    if isinstance(event, e.WorkloadStarted):
        return f"{event.workload} started: {event.rows_total} rows on {event.device}"
    if isinstance(event, e.DriverRestarted):
        return f"the driver ended with status {event.status}; attempt {event.attempt} begins"
    if isinstance(event, e.DemandChanged):
        wanted = [f"{demand.count} × {_shape(demand.shape)}" for demand in event.bundles if demand.count]
        return f"demand is now {listed(wanted) or 'nothing'}"
    if isinstance(event, e.RequestAnswered) and event.outcome != "ok":
        done = "failed" if event.outcome == "failed" else "answered from the store" if event.stored else "answered"
        return f"request {event.request} {done} after {event.attempts} attempts"
    if isinstance(event, e.ActorRestarted):
        return f"actor {event.actor} lives again, its state lost: it had served {event.served} requests"
    if isinstance(event, e.WorkloadFinished):
        return f"workload ended: {event.outcome}" + (f" ({_last_line(event.error)})" if event.error else "")
    if isinstance(event, e.RowsVerified):
        wrong = [
            f"{count} {what}"
            for count, what in (
                (event.missing_count, "missing"),
                (event.duplicated_count, "duplicated"),
                (event.wrong_count, "wrong"),
                (event.unexpected_count, "unexpected"),
            )
            if count
        ]
        return f"output: {event.rows_found} of {event.rows_expected} rows, {listed(wrong) or 'all right'}"
    if isinstance(event, e.StacksDumped):
        return f"stacks of {event.processes} processes written to {event.path}"
    return None


def _of_faults(event: e.Event) -> str | None:
    if isinstance(event, e.FaultSkipped):
        reason = event.reason.replace("_", " ")
        return f"{event.injection} {event.fault} not made: {reason}" + (f" ({event.detail})" if event.detail else "")
    if isinstance(event, e.FaultInjected):
        return f"{event.injection} {event.fault}{on(event.victims)}, {number(event.lateness_s * 1000)} ms late"
    if isinstance(event, e.FaultProbed):
        return f"{event.injection} {event.fault}: {event.outcome.replace('_', ' ')} ({event.detail})"
    if isinstance(event, e.FaultHealed):
        proof = "proven" if event.proven else "NOT proven"
        return f"{event.injection} {event.fault} healed, {proof}" + (f" ({event.detail})" if event.detail else "")
    return None


def on(victims: Sequence[str]) -> str:
    """` on w1, w2`; nothing for a fault without victims."""
    return f" on {listed(victims)}" if victims else ""


def _shape(shape: e.Resources) -> str:
    return "{" + ", ".join(f"{name}: {number(amount)}" for name, amount in sorted(shape.items())) + "}"


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
