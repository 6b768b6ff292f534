"""The catalogue of faults. A new fault is a file beside this one, its test, one line here, and its row in the docs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from chaos.fault import Fault
from faults.corrupt_packets import CorruptPackets
from faults.delay_launch import DelayLaunch
from faults.delay_network import DelayNetwork
from faults.duplicate_packets import DuplicatePackets
from faults.fail_launch import FailLaunch
from faults.flap_network import FlapNetwork
from faults.kill_node import KillNode
from faults.lose_packets import LosePackets
from faults.partition_network import PartitionNetwork
from faults.pause_node import PauseNode
from faults.reorder_packets import ReorderPackets
from faults.reset_connections import ResetConnections
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
