"""Events of the cluster: nodes that come and go, and what it looked like at one moment."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from chaos.value import Value

Resources: TypeAlias = dict[str, float]


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
    was refused (`not_terminated`); a launch was carried out and answered with an error (`reply_lost`); a change was
    refused because another had come before (`conflict`).
    """

    kind: Literal["cloud.answered_wrong"] = "cloud.answered_wrong"
    effect: str
    how: Literal[
        "unreachable", "failed", "slow", "stale", "omitted", "not_found", "not_terminated", "reply_lost", "conflict"
    ]
    count: int = 1
    detail: str = ""


class GcsAnsweredWrong(Value):
    """The twin's GCS, under an effect, really answered Ray's autoscaler otherwise than it was: `count` times.

    Recorded at most once a second for each effect. `how`: it showed nodes or demand as they were a while ago
    (`lagged`), or not all nodes (`left_out`); a node refused to end as idle, be it idle or not (`refused`).
    """

    kind: Literal["gcs.answered_wrong"] = "gcs.answered_wrong"
    effect: str
    how: Literal["lagged", "left_out", "refused"]
    count: int = 1
    detail: str = ""


class NodeTerminating(Value):
    """The autoscaler asked the Cloud to end this node."""

    kind: Literal["node.terminating"] = "node.terminating"
    node: str


class NodeTerminated(Value):
    """The node's instance is gone from the Cloud.

    `stop_s`: where the Cloud ended it, the seconds from when the Cloud began to until it was gone.
    """

    kind: Literal["node.terminated"] = "node.terminated"
    node: str
    cause: Literal["autoscaler", "killed", "exited", "down"]
    stop_s: float | None = None


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
    """`count` waiting requests of one resource shape.

    Those of a placement group wait together: all of them get room, or none. With `apart` each needs a node of its own,
    and none of those of `not_on`, which hold others of the group.
    """

    shape: Resources
    count: int
    source: Literal["task", "placement_group", "request_resources"] = "task"
    apart: bool = False
    not_on: tuple[str, ...] = ()


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
