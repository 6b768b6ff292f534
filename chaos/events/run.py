"""Events of the run itself: its opening, its phases, what is expected of it, and what was there before and after."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import JsonValue

from chaos.value import Value

Phase: TypeAlias = Literal["starting", "workload", "liveness", "idle", "stopping"]


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


class FingerprintTaken(Value):
    """What showed of harm on the cluster before the run: nothing, or the run was refused."""

    kind: Literal["clean.fingerprint"] = "clean.fingerprint"
    seen: tuple[str, ...]


class CleanlinessChecked(Value):
    """Traces of the run found on this machine after healing; empty when nothing is left behind."""

    kind: Literal["clean.checked"] = "clean.checked"
    leftovers: tuple[str, ...]
