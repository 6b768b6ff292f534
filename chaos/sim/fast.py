"""Ray's autoscaler with short cuts: the same decisions, sooner.

What is cut short: configurations and classes are made once; node types and rows are read without being copied each
time, and what Ray copies deeply is copied with less ado; rows of instances that ended are dropped, which Ray never
does, and with them the dead nodes that the GCS shows; and an update whose inputs equal those of one that changed
nothing is left out, as long as no time limit of the autoscaler's can have passed. Short cuts are for a cluster that no
harm is being done to: while any is in force, every update is carried out.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from enum import Enum
from types import SimpleNamespace
from typing import Any

from google.protobuf.message import Message
from ray.autoscaler.v2 import scheduler
from ray.autoscaler.v2.instance_manager import node_provider
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig, NodeTypeConfig
from ray.autoscaler.v2.instance_manager.instance_manager import InstanceManager
from ray.autoscaler.v2.instance_manager.instance_storage import InstanceStorage
from ray.autoscaler.v2.instance_manager.storage import InMemoryStorage
from ray.core.generated.autoscaler_pb2 import AutoscalingState
from ray.core.generated.instance_manager_pb2 import (
    GetInstanceManagerStateReply,
    GetInstanceManagerStateRequest,
    Instance,
)

from chaos.clock import monotonic_s, wall_s
from chaos.sim import releases
from chaos.sim.autoscaler import Autoscaler, ClusterConfig, Drain
from chaos.sim.ray import DEAD_REMEMBERED
from chaos.sim.shown import AsItIs, Shown

DROPPED_AFTER_S = 60.0
"""For how long the row of an instance that has ended, and that nobody shows any more as living, is kept."""
_NS = 1_000_000_000
_atoms = {bool, int, float, str, bytes, type(None)}
"""Types of which nobody copies anything; enumerations are added as they are met."""
_ENDED = (Instance.TERMINATED, Instance.ALLOCATION_FAILED)
_AT_REST = (Instance.RAY_RUNNING, *_ENDED)
"""What an instance may stay in without limit: nothing follows from the time it has been so."""


class FastConfig(ClusterConfig):
    """The configuration, with its node types made once."""

    def __init__(self, text: str, environment: Mapping[str, str]) -> None:
        super().__init__(text, environment)
        self._types: dict[str, NodeTypeConfig] | None = None

    def get_node_type_configs(self) -> dict[str, NodeTypeConfig]:
        """What `AutoscalingConfig` returns."""
        if self._types is None:
            self._types = super().get_node_type_configs()
        return self._types

    def idle_limits_s(self) -> frozenset[float]:
        """Every time after which an idle node may be ended."""
        own = (kind.idle_timeout_s for kind in self.get_node_type_configs().values())
        return frozenset(limit for limit in (self.get_idle_timeout_s(), *own) if limit is not None)


@functools.lru_cache(maxsize=64)
def fast_config(text: str, environment: tuple[tuple[str, str], ...]) -> FastConfig:
    """The configuration, made once for all twins that have it: nobody changes it, and Ray validates it at length."""
    return FastConfig(text, dict(environment))


class _Table(InMemoryStorage):  # type: ignore[misc]
    """Hands out its entries, which nobody changes, without copying them."""

    def get_all(self, table: str) -> tuple[dict[str, Any], int]:
        return dict(self._tables[table]), self._version


class _Rows(InstanceStorage):  # type: ignore[misc]
    """Reads each row once for as long as it stays the same."""

    def __init__(self, name: str) -> None:
        super().__init__(cluster_id=name, storage=_Table())
        self._read: dict[str, Instance] = {}
        self._version = -1

    def get_instances(
        self, instance_ids: list[str] | None = None, status_filter: set[int] | None = None
    ) -> tuple[dict[str, Instance], int]:
        """All of them are those of the storage itself, which nobody changes."""
        if instance_ids or status_filter:
            return super().get_instances(instance_ids, status_filter)  # type: ignore[no-any-return]
        pairs, version = self._storage.get_all(self._table_name)
        if version == self._version:
            return self._read, version
        rows: dict[str, Instance] = {}
        for instance_id, (data, row_version) in pairs.items():
            row = self._read.get(instance_id)
            if row is None or row.version != row_version:
                row = Instance()
                row.ParseFromString(data)
                row.version = row_version
            rows[instance_id] = row
        self._read, self._version = rows, version
        return rows, version


class _Manager(InstanceManager):  # type: ignore[misc]
    """Gives one answer, which nobody changes, for as long as the rows stay the same: Ray asks 15 times an update."""

    _answer: GetInstanceManagerStateReply | None = None

    def get_instance_manager_state(self, request: GetInstanceManagerStateRequest) -> GetInstanceManagerStateReply:
        """All rows, as `InstanceManager` answers."""
        _, version = self._instance_storage.get_instances()
        if self._answer is None or self._answer.state.version != version:
            self._answer = super().get_instance_manager_state(request)
        return self._answer


class FastAutoscaler(Autoscaler):
    """One incarnation of the autoscaler.

    `settled` says whether no harm is in force, and `remembered` which dead nodes the GCS remembers, by Ray node id.
    """

    def __init__(
        self,
        provider: node_provider.ICloudInstanceProvider,
        drain: Drain,
        *,
        name: str,
        interval_s: float,
        settled: Callable[[], bool],
        remembered: Callable[[], set[str]],
    ) -> None:
        super().__init__(provider, drain, name=name)
        self._replaced += tuple(
            (scheduler, name, ours) for name, ours in _IN_THE_SCHEDULER.items() if hasattr(scheduler, name)
        )
        self._interval_s = interval_s
        self._settled = settled
        self._remembered = remembered
        self._inputs: tuple[object, ...] | None = None
        self._outcome = AutoscalingState()
        self._named_each = 0
        self._updated_s = monotonic_s()
        self.forgotten: set[str] = set()
        self._dead_before: set[str] = set()
        self.skipped = 0
        self._paces = releases.paces_by_ended()

    def _storage(self, name: str) -> InstanceStorage:
        self._rows = _Rows(name)
        return self._rows

    def _new_manager(self, storage: InstanceStorage, subscribers: list[Any]) -> InstanceManager:
        return _Manager(storage, subscribers)

    def update(
        self,
        shown: Shown,
        instances: Mapping[str, node_provider.CloudInstance],
        *,
        config: AutoscalingConfig,
        errors: list[node_provider.CloudInstanceProviderError],
        stop_errors: list[Any],
        log: Callable[[str], None],
    ) -> AutoscalingState:
        """One update, or the last one's outcome where this one's would be the same."""
        assert isinstance(config, FastConfig)
        missed = round((monotonic_s() - self._updated_s) / self._interval_s) - 1
        self._updated_s = monotonic_s()
        limits_s = config.idle_limits_s()
        may_skip = self._settled() and not errors and not stop_errors
        inputs = (config, dict(instances), shown.seen(limits_s)) if may_skip else None
        if self._inputs is not None:
            self._identified += max(0, missed) * self._named_each
            if inputs == self._inputs:
                self._identified += self._named_each
                self.skipped += max(0, missed) + 1
                self.quiet_for_s = shown.until_idle_s(limits_s)
                return self._outcome
        self._inputs, self.quiet_for_s = None, 0.0
        if isinstance(shown, AsItIs) and not self._paces and self._settled():
            self._drop(shown, instances)
        version, named = self._rows_version(), self._identified
        self._outcome = super().update(shown, instances, config=config, errors=errors, stop_errors=stop_errors, log=log)
        if may_skip and version == self._rows_version() and self._at_rest():
            self._inputs, self._named_each = inputs, self._identified - named
            self.quiet_for_s = shown.until_idle_s(limits_s)
        return self._outcome

    def _rows_version(self) -> int:
        return int(self._rows.get_instances()[1])

    def _at_rest(self) -> bool:
        """Whether nothing follows from time alone, but from that for which nodes have been idle."""
        rows, _ = self._rows.get_instances()
        with self._in_the_model():
            recovered = releases.recovering(self._monitor)
        return (
            all(row.status in _AT_REST for row in rows.values())
            and all(score >= 1.0 for score in recovered)
            and self._stop_errors.empty()
        )

    def _drop(self, shown: AsItIs, instances: Mapping[str, node_provider.CloudInstance]) -> None:
        """Forgets instances that ended a while ago, and that neither the cloud nor a living node shows.

        With them it forgets their dead, and is shown them no more: dead nodes that have no row would be given one.
        """
        dead = {node.ray_node_id: node.instance for node in shown.dead}
        # An instance may have had several Ray nodes, each with a row; one that is dead since the last update has none.
        kept = {instance for ray_node_id, instance in dead.items() if ray_node_id not in self._dead_before}
        self._dead_before = set(dead)
        before_ns = (wall_s() - DROPPED_AFTER_S) * _NS
        rows, _ = self._rows.get_instances()
        ended = [row for row in rows.values() if row.status in _ENDED]
        long_ended = [row for row in ended if row.status_history[-1].timestamp_ns < before_ns]
        if not long_ended:
            return
        there = {*instances, *shown.living}
        over = [(row.instance_id, row.cloud_instance_id) for row in long_ended if row.cloud_instance_id not in there]
        dropped = {instance_id for instance_id, _ in over}
        kept |= {row.cloud_instance_id for row in rows.values() if row.instance_id not in dropped}
        over = [(instance_id, cloud_id) for instance_id, cloud_id in over if not cloud_id or cloud_id not in kept]
        if not over:
            return
        self._rows.batch_delete_instances([instance_id for instance_id, _ in over])
        gone = {cloud_id for _, cloud_id in over if cloud_id}
        self.forgotten.update(ray_node_id for ray_node_id, cloud_id in dead.items() if cloud_id in gone)
        shown.leave_out(self.forgotten)
        if len(self.forgotten) > 2 * DEAD_REMEMBERED:
            self.forgotten &= self._remembered()


_made: dict[str, type] = {}


def _dataclass_once(kind: type) -> type:
    """A data class; one that a function of Ray's defines anew each time it is called is made the first time.

    Not so where it has more than annotations: that may depend on the call.
    """
    if any(not name.startswith("__") for name in vars(kind)):
        return dataclasses.dataclass(kind)
    if kind.__qualname__ not in _made:
        _made[kind.__qualname__] = dataclasses.dataclass(kind)
    return _made[kind.__qualname__]


def _deep_copy(value: Any, memo: dict[int, Any] | None = None) -> Any:
    """What `copy.deepcopy` returns, sooner for what the scheduler copies: its nodes, with keys that nobody changes."""
    kind = type(value)
    if kind in _atoms:
        return value
    if isinstance(value, Enum):
        _atoms.add(kind)
        return value
    memo = {} if memo is None else memo
    if (known := memo.get(id(value))) is not None:
        return known
    if isinstance(value, Message):
        made = memo[id(value)] = value.__deepcopy__(memo)
        return made
    if kind is list:
        made = memo[id(value)] = []
        made += [item if type(item) in _atoms else _deep_copy(item, memo) for item in value]
        return made
    if kind is dict:
        made = memo[id(value)] = value.copy()
        _copy_values(made, memo)
        return made
    if kind is scheduler.SchedulingNode:
        made = memo[id(value)] = object.__new__(kind)
        made.__dict__.update(value.__dict__)
        _copy_values(made.__dict__, memo)
        return made
    return copy.deepcopy(value, memo)


def _copy_values(made: dict[Any, Any], memo: dict[int, Any]) -> None:
    """Puts a copy in the place of each value."""
    for key, item in made.items():
        if type(item) not in _atoms:
            made[key] = _deep_copy(item, memo)


_IN_THE_SCHEDULER: Mapping[str, object] = {
    "copy": SimpleNamespace(copy=copy.copy, deepcopy=_deep_copy),
    "dataclass": _dataclass_once,
}
