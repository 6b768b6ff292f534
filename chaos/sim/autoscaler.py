"""Ray's autoscaler v2 in this process, one update at a time: its own code, but for time, identifiers and threads.

What it takes from the outside is replaced in its modules for the time of one update, and put back: the clock, random
identifiers, and the threads in which it calls the cloud and the GCS.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from queue import Queue
from types import SimpleNamespace
from typing import Any
from unittest import mock

import yaml
from ray.autoscaler.v2 import scheduler, schema
from ray.autoscaler.v2.instance_manager import common, node_provider, reconciler
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig, InstanceReconcileConfig
from ray.autoscaler.v2.instance_manager.instance_manager import InstanceManager
from ray.autoscaler.v2.instance_manager.instance_storage import InstanceStorage
from ray.autoscaler.v2.instance_manager.storage import InMemoryStorage
from ray.autoscaler.v2.instance_manager.subscribers import (
    cloud_instance_updater,
    cloud_resource_monitor,
    ray_stopper,
)
from ray.core.generated.autoscaler_pb2 import AutoscalingState, ClusterResourceState

from chaos.clock import monotonic_s, wall_s

Drain = Callable[[str, bool], bool]
"""Drains a node by its Ray node id, where it is to be idle only if it is; says whether that was accepted."""

_NS = 1_000_000_000
_TIMED = (common, reconciler, scheduler, schema, cloud_resource_monitor, node_provider)
_NAMING = (common, reconciler, scheduler, cloud_instance_updater)
_LOGGERS = ("ray.autoscaler.v2",)
_LIMIT_PREFIX = "RAY_AUTOSCALER_RECONCILE_"


class Autoscaler:
    """One incarnation of the monitor's autoscaler; another one knows nothing of it."""

    def __init__(self, provider: node_provider.ICloudInstanceProvider, drain: Drain, *, name: str) -> None:
        self._provider = provider
        self._name = name
        self._identified = 0
        self._stop_errors: Queue[Any] = Queue()
        with self._in_the_model():
            self._monitor = cloud_resource_monitor.CloudResourceMonitor()
            storage = InstanceStorage(cluster_id=name, storage=InMemoryStorage())
            subscribers = [
                cloud_instance_updater.CloudInstanceUpdater(cloud_provider=provider),
                ray_stopper.RayStopper(gcs_client=_Gcs(drain), error_queue=self._stop_errors),
                self._monitor,
            ]
            self._manager = InstanceManager(storage, subscribers)
            self._scheduler = scheduler.ResourceDemandScheduler(None)

    def update(
        self,
        state: ClusterResourceState,
        instances: Mapping[str, node_provider.CloudInstance],
        *,
        config: AutoscalingConfig,
        errors: list[node_provider.CloudInstanceProviderError],
        log: Callable[[str], None],
    ) -> AutoscalingState:
        """One update. What it raises, the production loop would only log."""
        stop_errors = [self._stop_errors.get() for _ in range(self._stop_errors.qsize())]
        with self._in_the_model(), _logged(log):
            return reconciler.Reconciler.reconcile(
                instance_manager=self._manager,
                scheduler=self._scheduler,
                cloud_provider=self._provider,
                cloud_resource_monitor=self._monitor,
                ray_cluster_resource_state=state,
                non_terminated_cloud_instances=dict(instances),
                autoscaling_config=config,
                cloud_provider_errors=errors,
                ray_install_errors=[],
                ray_stop_errors=stop_errors,
                metrics_reporter=None,
            )

    def _uuid(self) -> uuid.UUID:
        self._identified += 1
        return uuid.UUID(bytes=hashlib.sha256(f"{self._name}/{self._identified}".encode()).digest()[:16], version=4)

    @contextlib.contextmanager
    def _in_the_model(self) -> Iterator[None]:
        """Ray's modules with the model's time and identifiers, and without threads."""
        time = SimpleNamespace(time=wall_s, time_ns=lambda: int(wall_s() * _NS), monotonic=monotonic_s)
        names = SimpleNamespace(uuid4=self._uuid)
        with contextlib.ExitStack() as stack:
            for module in _TIMED:
                stack.enter_context(mock.patch.object(module, "time", time))
            for module in _NAMING:
                stack.enter_context(mock.patch.object(module, "uuid", names))
            stack.enter_context(mock.patch.object(ray_stopper, "ThreadPoolExecutor", _AtOnce))
            yield


def config_of(text: str, environment: Mapping[str, str]) -> AutoscalingConfig:
    """The autoscaler's configuration, from YAML as the real one reads it, and from variables of the head's."""
    warnings = logging.getLogger("ray.autoscaler._private.util")
    before = warnings.level
    warnings.setLevel(logging.ERROR)  # it warns of fields that it has put there itself
    try:
        return _Config(yaml.safe_load(text), environment)
    finally:
        warnings.setLevel(before)


class _Config(AutoscalingConfig):  # type: ignore[misc]
    """Ray reads its limits from the environment once, when it is imported; each cluster of the twin has its own."""

    def __init__(self, configs: dict[str, Any], environment: Mapping[str, str]) -> None:
        super().__init__(configs, skip_content_hash=True)
        usual = InstanceReconcileConfig()
        given = {
            name: int(environment[variable])
            for name in dataclasses.asdict(usual)
            if (variable := f"{_LIMIT_PREFIX}{name.upper()}") in environment
        }
        self._limits = dataclasses.replace(usual, **given)

    def get_instance_reconcile_config(self) -> InstanceReconcileConfig:
        """How long an instance may stay in each transient state."""
        return self._limits


class _AtOnce(Executor):
    """Does what a thread would do, at once."""

    def __init__(self, max_workers: int | None = None) -> None:
        pass

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Calls it."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 -- as a thread's
            future.set_exception(error)
        return future


class _Gcs:
    """What of the GCS's client the autoscaler stops nodes with."""

    def __init__(self, drain: Drain) -> None:
        self._drain = drain

    def drain_node(self, *, node_id: str, **_why: object) -> tuple[bool, str]:
        """Asks a node that should be idle to end."""
        accepted = self._drain(node_id, True)
        return accepted, "" if accepted else "the node is not idle"

    def drain_nodes(self, *, node_ids: list[bytes]) -> list[bytes]:
        """Has nodes end; returns those that will."""
        return [node_id for node_id in node_ids if self._drain(node_id.hex(), False)]


@contextlib.contextmanager
def _logged(log: Callable[[str], None]) -> Iterator[None]:
    """Takes Ray's log lines of the autoscaler."""
    handler = _Handler(log)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


class _Handler(logging.Handler):
    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Hands on the line."""
        self._log(record.getMessage())
