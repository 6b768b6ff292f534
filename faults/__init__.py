"""The catalogue of faults. A new fault is a file beside this one, its test, one line here, and its row in the docs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from chaos.fault import Fault
from faults.change_idle_timeout import ChangeIdleTimeout
from faults.change_limits import ChangeLimits
from faults.change_node_types import ChangeNodeTypes
from faults.delay_launch import DelayLaunch
from faults.delay_rpcs import DelayRpcs
from faults.fail_launch import FailLaunch
from faults.fail_rpcs import FailRpcs
from faults.kill_node import KillNode
from faults.partition_network import PartitionNetwork
from faults.pause_node import PauseNode
from faults.restart_head import RestartHead
from faults.throttle_network import ThrottleNetwork

ALL: Mapping[str, type[Fault]] = MappingProxyType(
    {
        fault.name: fault
        for fault in (
            KillNode,
            PauseNode,
            DelayLaunch,
            FailLaunch,
            ThrottleNetwork,
            PartitionNetwork,
            ChangeLimits,
            ChangeIdleTimeout,
            ChangeNodeTypes,
            FailRpcs,
            DelayRpcs,
            RestartHead,
        )
    }
)
"""Every fault there is, by name."""
