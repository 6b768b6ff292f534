"""The catalogue of faults. A new fault is a file beside this one, its test, one line here, and its row in the docs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from chaos.fault import Fault
from faults.change_idle_timeout import ChangeIdleTimeout
from faults.change_limits import ChangeLimits
from faults.change_node_types import ChangeNodeTypes
from faults.cloud_outage import CloudOutage
from faults.corrupt_packets import CorruptPackets
from faults.delay_launch import DelayLaunch
from faults.delay_network import DelayNetwork
from faults.delay_rpcs import DelayRpcs
from faults.delay_terminate import DelayTerminate
from faults.duplicate_launch import DuplicateLaunch
from faults.duplicate_packets import DuplicatePackets
from faults.exhaust_file_descriptors import ExhaustFileDescriptors
from faults.fail_launch import FailLaunch
from faults.fail_rpcs import FailRpcs
from faults.fail_terminate import FailTerminate
from faults.fill_disk import FillDisk
from faults.fill_object_store import FillObjectStore
from faults.flap_network import FlapNetwork
from faults.gpu import GpuEccError, GpuHang, GpuLost, GpuOutOfMemory, GpuSlow
from faults.kill_autoscaler import KillAutoscaler
from faults.kill_dashboard_agent import KillDashboardAgent
from faults.kill_driver import KillDriver
from faults.kill_gcs import KillGcs
from faults.kill_node import KillNode
from faults.kill_raylet import KillRaylet
from faults.kill_worker_process import KillWorkerProcess
from faults.limit_capacity import LimitCapacity
from faults.lose_launch_reply import LoseLaunchReply
from faults.lose_packets import LosePackets
from faults.omit_from_listing import OmitFromListing
from faults.partial_launch import PartialLaunch
from faults.partition_network import PartitionNetwork
from faults.pause_autoscaler import PauseAutoscaler
from faults.pause_gcs import PauseGcs
from faults.pause_node import PauseNode
from faults.pause_process import PauseProcess
from faults.preempt_node import PreemptNode
from faults.press_memory import PressMemory
from faults.reorder_packets import ReorderPackets
from faults.reset_connections import ResetConnections
from faults.restart_head import RestartHead
from faults.restart_node import RestartNode
from faults.restart_raylet import RestartRaylet
from faults.skew_clock import SkewClock
from faults.slow_join import SlowJoin
from faults.stale_listing import StaleListing
from faults.stop_node import StopNode
from faults.throttle_cpu import ThrottleCpu
from faults.throttle_disk import ThrottleDisk
from faults.throttle_network import ThrottleNetwork
from faults.vanish_node import VanishNode
from faults.zombie_launch import ZombieLaunch

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
        )
    }
)
"""Every fault there is, by name."""
