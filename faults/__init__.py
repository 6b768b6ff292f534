"""The catalogue of faults. A new fault is a file beside this one, its test, one line here, and its row in the docs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from chaos.fault import Fault
from faults.delay_launch import DelayLaunch
from faults.exhaust_file_descriptors import ExhaustFileDescriptors
from faults.fail_launch import FailLaunch
from faults.fill_disk import FillDisk
from faults.fill_object_store import FillObjectStore
from faults.kill_node import KillNode
from faults.partition_network import PartitionNetwork
from faults.pause_node import PauseNode
from faults.press_memory import PressMemory
from faults.throttle_cpu import ThrottleCpu
from faults.throttle_disk import ThrottleDisk
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
            ThrottleCpu,
            PressMemory,
            ExhaustFileDescriptors,
            FillObjectStore,
            FillDisk,
            ThrottleDisk,
        )
    }
)
"""Every fault there is, by name."""
