"""The catalogue of faults. A new fault is a file beside this one, its test, one line here, and its row in the docs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from chaos.fault import Fault
from faults.change_idle_timeout import ChangeIdleTimeout as ChangeIdleTimeout
from faults.change_limits import ChangeLimits as ChangeLimits
from faults.change_node_types import ChangeNodeTypes as ChangeNodeTypes
from faults.cloud_outage import CloudOutage as CloudOutage
from faults.conflict_patch import ConflictPatch as ConflictPatch
from faults.corrupt_packets import CorruptPackets as CorruptPackets
from faults.delay_launch import DelayLaunch as DelayLaunch
from faults.delay_network import DelayNetwork as DelayNetwork
from faults.delay_rpcs import DelayRpcs as DelayRpcs
from faults.delay_terminate import DelayTerminate as DelayTerminate
from faults.duplicate_launch import DuplicateLaunch as DuplicateLaunch
from faults.duplicate_packets import DuplicatePackets as DuplicatePackets
from faults.exhaust_file_descriptors import ExhaustFileDescriptors as ExhaustFileDescriptors
from faults.fail_launch import FailLaunch as FailLaunch
from faults.fail_rpcs import FailRpcs as FailRpcs
from faults.fail_terminate import FailTerminate as FailTerminate
from faults.fill_disk import FillDisk as FillDisk
from faults.fill_object_store import FillObjectStore as FillObjectStore
from faults.flap_network import FlapNetwork as FlapNetwork
from faults.gpu import GpuEccError as GpuEccError
from faults.gpu import GpuHang as GpuHang
from faults.gpu import GpuLost as GpuLost
from faults.gpu import GpuOutOfMemory as GpuOutOfMemory
from faults.gpu import GpuSlow as GpuSlow
from faults.kill_autoscaler import KillAutoscaler as KillAutoscaler
from faults.kill_dashboard_agent import KillDashboardAgent as KillDashboardAgent
from faults.kill_driver import KillDriver as KillDriver
from faults.kill_gcs import KillGcs as KillGcs
from faults.kill_node import KillNode as KillNode
from faults.kill_operator import KillOperator as KillOperator
from faults.kill_raylet import KillRaylet as KillRaylet
from faults.kill_worker_process import KillWorkerProcess as KillWorkerProcess
from faults.lag_views import LagViews as LagViews
from faults.limit_capacity import LimitCapacity as LimitCapacity
from faults.lose_launch_reply import LoseLaunchReply as LoseLaunchReply
from faults.lose_packets import LosePackets as LosePackets
from faults.omit_from_listing import OmitFromListing as OmitFromListing
from faults.omit_from_views import OmitFromViews as OmitFromViews
from faults.partial_launch import PartialLaunch as PartialLaunch
from faults.partition_network import PartitionNetwork as PartitionNetwork
from faults.pause_autoscaler import PauseAutoscaler as PauseAutoscaler
from faults.pause_gcs import PauseGcs as PauseGcs
from faults.pause_node import PauseNode as PauseNode
from faults.pause_process import PauseProcess as PauseProcess
from faults.preempt_node import PreemptNode as PreemptNode
from faults.press_memory import PressMemory as PressMemory
from faults.refuse_drains import RefuseDrains as RefuseDrains
from faults.reorder_packets import ReorderPackets as ReorderPackets
from faults.reset_connections import ResetConnections as ResetConnections
from faults.restart_head import RestartHead as RestartHead
from faults.restart_node import RestartNode as RestartNode
from faults.restart_raylet import RestartRaylet as RestartRaylet
from faults.skew_clock import SkewClock as SkewClock
from faults.slow_join import SlowJoin as SlowJoin
from faults.stale_listing import StaleListing as StaleListing
from faults.stop_node import StopNode as StopNode
from faults.throttle_cpu import ThrottleCpu as ThrottleCpu
from faults.throttle_disk import ThrottleDisk as ThrottleDisk
from faults.throttle_network import ThrottleNetwork as ThrottleNetwork
from faults.vanish_node import VanishNode as VanishNode
from faults.zombie_launch import ZombieLaunch as ZombieLaunch

ALL: Mapping[str, type[Fault]] = MappingProxyType(
    {
        fault.name: fault
        for fault in (
            KillNode,
            PauseNode,
            StopNode,
            PreemptNode,
            RestartNode,
            KillRaylet,
            RestartRaylet,
            KillDashboardAgent,
            KillWorkerProcess,
            PauseProcess,
            KillAutoscaler,
            PauseAutoscaler,
            KillGcs,
            PauseGcs,
            KillDriver,
            DelayLaunch,
            FailLaunch,
            LimitCapacity,
            PartialLaunch,
            LoseLaunchReply,
            DuplicateLaunch,
            ZombieLaunch,
            SlowJoin,
            FailTerminate,
            DelayTerminate,
            VanishNode,
            OmitFromListing,
            StaleListing,
            CloudOutage,
            ConflictPatch,
            KillOperator,
            ThrottleNetwork,
            PartitionNetwork,
            GpuOutOfMemory,
            GpuEccError,
            GpuLost,
            GpuHang,
            GpuSlow,
            ChangeLimits,
            ChangeIdleTimeout,
            ChangeNodeTypes,
            FailRpcs,
            DelayRpcs,
            RestartHead,
            ThrottleCpu,
            PressMemory,
            ExhaustFileDescriptors,
            FillObjectStore,
            FillDisk,
            ThrottleDisk,
            SkewClock,
            DelayNetwork,
            LosePackets,
            DuplicatePackets,
            CorruptPackets,
            ReorderPackets,
            FlapNetwork,
            ResetConnections,
            LagViews,
            OmitFromViews,
            RefuseDrains,
        )
    }
)
"""Every fault there is, by name."""
