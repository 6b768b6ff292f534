"""Events of the workload: its operations, its progress, its end and its result."""

from __future__ import annotations

from typing import Literal

from chaos.events.cluster import Demand
from chaos.value import Value


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
    """Distinct rows computed so far; recorded when they grow, and each second but on the twin."""

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
