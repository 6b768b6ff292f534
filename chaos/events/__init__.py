"""Everything a history can hold: one frozen class per kind of event.

`kind` is the event's name on disk and in triggers (`on: node.launching`). Times inside an event are
seconds of the run's clock; nodes are named by launch ordinal (`w1`, `w2`, …) or `head`.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from chaos.events.cluster import (
    AutoscalerLogged,
    CloudAnsweredWrong,
    ClusterSampled,
    ConfigChanged,
    Demand,
    GcsAnsweredWrong,
    HostSampled,
    NodeDied,
    NodeJoined,
    NodeLaunchFailed,
    NodeLaunching,
    NodeStarted,
    NodeTerminated,
    NodeTerminating,
    NodeView,
    Resources,
    TypeInForce,
)
from chaos.events.harm import FaultDue, FaultHealed, FaultInjected, FaultProbed, FaultSkipped, Outcome
from chaos.events.run import (
    BaselineKnown,
    CleanlinessChecked,
    FingerprintTaken,
    Phase,
    PhaseBegan,
    RunAborted,
    RunOpened,
    RunSealed,
    SurvivalExpected,
)
from chaos.events.work import (
    ActorRestarted,
    BatchCompleted,
    BatchFailed,
    BatchInvoked,
    DemandChanged,
    DriverRestarted,
    RequestAnswered,
    RequestSent,
    RowsVerified,
    StacksDumped,
    WorkloadFinished,
    WorkloadLogged,
    WorkloadProgressed,
    WorkloadStarted,
)

__all__ = [
    "ActorRestarted",
    "AutoscalerLogged",
    "BaselineKnown",
    "BatchCompleted",
    "BatchFailed",
    "BatchInvoked",
    "CleanlinessChecked",
    "CloudAnsweredWrong",
    "ClusterSampled",
    "ConfigChanged",
    "Demand",
    "DemandChanged",
    "DriverRestarted",
    "Event",
    "FaultDue",
    "FaultHealed",
    "FaultInjected",
    "FaultProbed",
    "FaultSkipped",
    "FingerprintTaken",
    "GcsAnsweredWrong",
    "HostSampled",
    "NodeDied",
    "NodeJoined",
    "NodeLaunchFailed",
    "NodeLaunching",
    "NodeStarted",
    "NodeTerminated",
    "NodeTerminating",
    "NodeView",
    "Outcome",
    "Phase",
    "PhaseBegan",
    "RequestAnswered",
    "RequestSent",
    "Resources",
    "RowsVerified",
    "RunAborted",
    "RunOpened",
    "RunSealed",
    "StacksDumped",
    "SurvivalExpected",
    "TypeInForce",
    "WorkloadFinished",
    "WorkloadLogged",
    "WorkloadProgressed",
    "WorkloadStarted",
]

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
    | GcsAnsweredWrong
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
