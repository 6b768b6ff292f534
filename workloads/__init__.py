"""The workloads raychaos brings: jobs whose every row has a known right answer.

Importing this package reads parameters only; Ray and torch are imported by the driver modules, on the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from chaos.workload import Workload
from workloads.actor_service import ActorService
from workloads.batch_inference import BatchInference
from workloads.gang_bursts import GangBursts
from workloads.open_load import OpenLoad
from workloads.task_bursts import TaskBursts

__all__ = ["ALL", "ActorService", "BatchInference", "GangBursts", "OpenLoad", "TaskBursts"]

# `OpenLoad` is for state machines, which tell it what to do; alone it would wait for ever.
ALL: Mapping[str, type[Workload]] = MappingProxyType(
    {kind.name: kind for kind in (BatchInference, TaskBursts, ActorService, GangBursts)}
)
