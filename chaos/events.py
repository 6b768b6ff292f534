"""Everything a history can hold: one frozen class per kind of event.

`kind` is the event's name on disk and in triggers (`on: node.launching`). Times inside an event are
seconds of the run's clock; nodes are named by launch ordinal (`w1`, `w2`, …) or `head`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, JsonValue

from chaos.value import Value

Phase: TypeAlias = Literal["starting", "workload", "liveness", "idle", "stopping"]
Resources: TypeAlias = dict[str, float]
Outcome: TypeAlias = Literal["took_effect", "no_effect", "unknown"]


class RunOpened(Value):
    """The first event of every history."""

    kind: Literal["run.opened"] = "run.opened"
    format: int = 1
    run_id: str
    seed: int
    cluster: str
    schedule_hash: str
    spec: dict[str, JsonValue]
    versions: dict[str, str]


class PhaseBegan(Value):
    """The run entered a phase; it lasts until the next one begins or the history is sealed."""

    kind: Literal["run.phase"] = "run.phase"
    phase: Phase


class RunSealed(Value):
    """The last event of a history that was closed in good order."""

    kind: Literal["run.sealed"] = "run.sealed"
    reason: Literal["complete", "deadline", "interrupted", "error", "aborted"]
    message: str = ""


class SurvivalExpected(Value):
    """Whether the system is expected to survive the schedule.

    `fatal` are the injections it is not expected to survive, where they hit; `reason` says why, or why it will.
    """

    kind: Literal["run.expected"] = "run.expected"
    survives: bool
    fatal: tuple[str, ...] = ()
    reason: str


class RunAborted(Value):
    """A condition of the spec's `abort` was met: what was measured, and what its limit was, in `unit`."""

    kind: Literal["run.aborted"] = "run.aborted"
    condition: Literal["memory_free_mb", "disk_free_mb", "command"]
    measured: float
    limit: float
    unit: str
    detail: str = ""


class BaselineKnown(Value):
    """What a fault-free run of the same spec measured on this machine; bounds derive from it.

    `join_s` is the longest time from a launch request to the node's first sight by the GCS, `scale_up_s` the longest
    that demand waited for the size it asked for, `scale_down_s` from the end of load to the minimum (idle timeout
    included), `longest_pause_s` the longest window without progress, `job_s` the workload's duration, `busy_share` the
    share of the job's time in which this machine's CPU was busy to the limit.
    """

    kind: Literal["baseline.known"] = "baseline.known"
    run_id: str
    job_s: float
    rows_per_s: float
    longest_pause_s: float
    scale_up_s: float
    scale_down_s: float
    join_s: float
    peak_nodes: int
    busy_share: float = 0.0
    sources: int = 1


class NodeLaunching(Value):
    """The autoscaler asked the Cloud for this node."""

    kind: Literal["node.launching"] = "node.launching"
    node: str
    node_type: str
    request: str


class NodeStarted(Value):
    """The node's instance runs; Ray on it may not have joined yet."""

    kind: Literal["node.started"] = "node.started"
    node: str
    node_type: str
    instance: str


class NodeLaunchFailed(Value):
    """The Cloud answered a launch with an error, or an accepted instance never ran."""

    kind: Literal["node.launch_failed"] = "node.launch_failed"
    node_type: str
    count: int = 1
    reason: str
    request: str
    node: str | None = None


class CloudAnsweredWrong(Value):
    """The Cloud, under an effect, really answered Ray otherwise than it was: `count` times since it last said so.

    Recorded by the side that answers, at most once a second for each effect. `how`: the call got no answer
    (`unreachable`), an error in place of one (`failed`), or one that came late (`slow`); a listing was old (`stale`) or
    without an instance there is (`omitted`); an instance there is was said not to exist (`not_found`); a termination
    was refused (`not_terminated`); a launch was carried out and answered with an error (`reply_lost`).
    """

    kind: Literal["cloud.answered_wrong"] = "cloud.answered_wrong"
    effect: str
    how: Literal["unreachable", "failed", "slow", "stale", "omitted", "not_found", "not_terminated", "reply_lost"]
    count: int = 1
    detail: str = ""


class NodeTerminating(Value):
    """The autoscaler asked the Cloud to end this node."""

    kind: Literal["node.terminating"] = "node.terminating"
    node: str


class NodeTerminated(Value):
    """The node's instance is gone from the Cloud."""

    kind: Literal["node.terminated"] = "node.terminated"
    node: str
    cause: Literal["autoscaler", "killed", "exited", "down"]


class NodeJoined(Value):
    """The GCS sees the node alive for the first time."""

    kind: Literal["node.joined"] = "node.joined"
    node: str
    node_type: str
    ray_node_id: str
    resources: Resources


class NodeDied(Value):
    """The GCS sees the node dead."""

    kind: Literal["node.died"] = "node.died"
    node: str
    ray_node_id: str


class TypeInForce(Value):
    """What the autoscaler's configuration says of one node type."""

    resources: Resources
    min_workers: int
    max_workers: int
    idle_timeout_s: float | None = None


class ConfigChanged(Value):
    """The autoscaler's configuration was edited, by the effect or to undo it; all that is in force from now on."""

    kind: Literal["config.changed"] = "config.changed"
    effect: str
    undone: bool
    max_workers: int
    idle_timeout_s: float
    node_types: dict[str, TypeInForce]


class NodeView(Value):
    """One node as the GCS sees it. `store_used` is the share of its object store in use, to a twentieth."""

    node: str
    node_type: str
    status: Literal["running", "idle", "draining"]
    idle_s: float = 0.0
    total: Resources
    available: Resources
    store_used: float | None = None


class Demand(Value):
    """`count` waiting requests of one resource shape."""

    shape: Resources
    count: int
    source: Literal["task", "placement_group", "request_resources"] = "task"


class ClusterSampled(Value):
    """The cluster as seen at one moment: the GCS's nodes and demand, the autoscaler's and Cloud's counts.

    `cloud` maps node name to the Cloud's state for each instance that is not terminated; `reachable` is
    false when the GCS did not answer in time, and then `nodes` and `demands` are empty, not known to be.
    """

    kind: Literal["cluster.sampled"] = "cluster.sampled"
    reachable: bool
    nodes: tuple[NodeView, ...] = ()
    demands: tuple[Demand, ...] = ()
    cloud: dict[str, Literal["pending", "running", "paused", "stopping"]] = Field(default_factory=dict)
    autoscaler_pending: int = 0
    autoscaler_failed: int = 0
    infeasible: int = 0


class AutoscalerLogged(Value):
    """A line of the autoscaler's log that tells a decision or a failure."""

    kind: Literal["autoscaler.logged"] = "autoscaler.logged"
    about: Literal["instance", "stuck", "launch_failed", "no_state", "error"]
    text: str


class HostSampled(Value):
    """This machine: CPU busy share over the last interval (0–1), CPU pressure, free memory and disk.

    `lag_s` is how late the observer itself got to take the sample: what everything on this machine may be late by.
    """

    kind: Literal["host.sampled"] = "host.sampled"
    cpu_busy: float
    cpu_pressure: float | None = None
    lag_s: float = 0.0
    memory_free_mb: float
    disk_free_mb: float


class WorkloadStarted(Value):
    """The driver connected and begins to create load; triggers' `at_s` counts from here."""

    kind: Literal["workload.started"] = "workload.started"
    workload: str
    rows_total: int
    device: str = "cpu"


class DriverRestarted(Value):
    """The driver had ended without a word, with this exit status (a signal's number, negated); it is started again.

    `attempt` counts starts, so the first restart is attempt 2. The load goes on: `workload.started` is not repeated.
    """

    kind: Literal["workload.restarted"] = "workload.restarted"
    attempt: int
    status: int
    said: str = ""


class DemandChanged(Value):
    """The workload's own demand changed: it now wants `bundles` (shape and count) at once."""

    kind: Literal["workload.demand"] = "workload.demand"
    bundles: tuple[Demand, ...]


class BatchInvoked(Value):
    """A node began to compute a batch; `rows` is a range list such as `0-31,64-95`."""

    kind: Literal["batch.invoked"] = "batch.invoked"
    op: str
    node: str
    rows: str
    started_s: float


class BatchCompleted(Value):
    """A node finished a batch it had begun."""

    kind: Literal["batch.completed"] = "batch.completed"
    op: str
    node: str
    rows: str
    started_s: float
    ended_s: float


class RequestSent(Value):
    """A client sent a request. Each time a node computes it is a batch operation with these rows."""

    kind: Literal["request.sent"] = "request.sent"
    request: str
    rows: str


class RequestAnswered(Value):
    """A client got its answer, `retried` after more than one attempt; or gave up after the last (`failed`).

    `stored` when the answer had been computed by an earlier attempt, whose reply was lost.
    """

    kind: Literal["request.answered"] = "request.answered"
    request: str
    outcome: Literal["ok", "retried", "failed"]
    attempts: int
    actor: str
    stored: bool = False


class ActorRestarted(Value):
    """An actor of the workload lives again, its state lost: it was heard to have answered `served` requests."""

    kind: Literal["actor.restarted"] = "actor.restarted"
    actor: str
    served: int


class BatchFailed(Value):
    """A node's device failed a batch it had begun; `error` is what torch, or what stands in for it, said."""

    kind: Literal["batch.failed"] = "batch.failed"
    op: str
    node: str
    rows: str
    started_s: float
    error: str


class WorkloadProgressed(Value):
    """Distinct rows computed so far; recorded at least once a second while the workload runs."""

    kind: Literal["workload.progressed"] = "workload.progressed"
    rows_done: int
    rows_total: int


class WorkloadLogged(Value):
    """A line the driver wrote that a reader may want beside the events."""

    kind: Literal["workload.logged"] = "workload.logged"
    text: str


class WorkloadFinished(Value):
    """The driver ended; `hung` when the run's deadline ended it."""

    kind: Literal["workload.finished"] = "workload.finished"
    outcome: Literal["ok", "failed", "hung", "interrupted"]
    error: str = ""


class RowsVerified(Value):
    """The oracle's comparison of the output with a fault-free computation.

    Lists hold at most the first twenty row ids; the counts are complete.
    """

    kind: Literal["workload.verified"] = "workload.verified"
    rows_expected: int
    rows_found: int
    missing_count: int
    duplicated_count: int
    wrong_count: int
    unexpected_count: int = 0
    missing: tuple[int, ...] = ()
    duplicated: tuple[int, ...] = ()
    wrong: tuple[int, ...] = ()
    max_error: float = 0.0
    tolerance: float = 0.0


class StacksDumped(Value):
    """Stack dumps of what hung were written to `path` in the run directory."""

    kind: Literal["workload.stacks"] = "workload.stacks"
    path: str
    processes: int


class FaultDue(Value):
    """An injection's trigger fired."""

    kind: Literal["fault.due"] = "fault.due"
    injection: str
    fault: str
    due_s: float


class FaultSkipped(Value):
    """An injection was not made: no target, beyond the blast radius (`refused`), or its trigger never fired."""

    kind: Literal["fault.skipped"] = "fault.skipped"
    injection: str
    fault: str
    reason: Literal["no_target", "refused", "not_triggered", "run_ended", "failed"]
    detail: str = ""


class FaultInjected(Value):
    """A fault was applied to `victims` at `applied_s`, `lateness_s` after it was due."""

    kind: Literal["fault.injected"] = "fault.injected"
    injection: str
    fault: str
    victims: tuple[str, ...]
    due_s: float
    applied_s: float
    lateness_s: float
    effect_id: str
    heal_due_s: float | None = None


class FaultProbed(Value):
    """What an independent probe saw of the fault."""

    kind: Literal["fault.probed"] = "fault.probed"
    injection: str
    fault: str
    outcome: Outcome
    detail: str
    asked: float | None = None
    measured: float | None = None
    unit: str = ""


class FaultHealed(Value):
    """A lasting fault was undone; `proven` when a probe saw its effect gone."""

    kind: Literal["fault.healed"] = "fault.healed"
    injection: str
    fault: str
    due_s: float
    healed_s: float
    proven: bool
    detail: str = ""


class FingerprintTaken(Value):
    """What showed of harm on the cluster before the run: nothing, or the run was refused."""

    kind: Literal["clean.fingerprint"] = "clean.fingerprint"
    seen: tuple[str, ...]


class CleanlinessChecked(Value):
    """Traces of the run found on this machine after healing; empty when nothing is left behind."""

    kind: Literal["clean.checked"] = "clean.checked"
    leftovers: tuple[str, ...]


Event: TypeAlias = Annotated[
    RunOpened
    | PhaseBegan
    | RunSealed
    | SurvivalExpected
    | RunAborted
    | BaselineKnown
    | NodeLaunching
    | NodeStarted
    | NodeLaunchFailed
    | CloudAnsweredWrong
    | NodeTerminating
    | NodeTerminated
    | NodeJoined
    | NodeDied
    | ConfigChanged
    | ClusterSampled
    | AutoscalerLogged
    | HostSampled
    | WorkloadStarted
    | DriverRestarted
    | DemandChanged
    | BatchInvoked
    | BatchCompleted
    | BatchFailed
    | RequestSent
    | RequestAnswered
    | ActorRestarted
    | WorkloadProgressed
    | WorkloadLogged
    | WorkloadFinished
    | RowsVerified
    | StacksDumped
    | FaultDue
    | FaultSkipped
    | FaultInjected
    | FaultProbed
    | FaultHealed
    | FingerprintTaken
    | CleanlinessChecked,
    Field(discriminator="kind"),
]
