"""Ray's autoscaler v2 in this process, one update at a time: its own code, but for time, identifiers and threads.

What it takes from the outside is replaced in its modules for the time of one update, and put back: the clock, random
identifiers, and the threads in which it calls the cloud and the GCS.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import logging
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Executor, Future
from queue import Queue
from types import ModuleType, SimpleNamespace
from typing import Any

import yaml
from ray.autoscaler.v2 import scheduler
from ray.autoscaler.v2.instance_manager import node_provider
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig, InstanceReconcileConfig
from ray.autoscaler.v2.instance_manager.instance_manager import InstanceManager
from ray.autoscaler.v2.instance_manager.instance_storage import InstanceStorage
from ray.autoscaler.v2.instance_manager.storage import InMemoryStorage
from ray.autoscaler.v2.instance_manager.subscribers import cloud_instance_updater, ray_stopper
from ray.core.generated.autoscaler_pb2 import AutoscalingState

from chaos.clock import monotonic_s, wall_s
from chaos.errors import ClusterError
from chaos.sim import releases
from chaos.sim.shown import Shown

Drain = Callable[[str, bool], "bool | asyncio.Task[bool | None]"]
"""Drains a node by its Ray node id, where it is to be idle only if it is; says whether that was accepted.

Of a node that does not answer it says that later; None then means that the node is dead.
"""

_NS = 1_000_000_000
_LOGGERS = ("ray.autoscaler.v2", "ray.autoscaler._private.kuberay")
LIMIT_PREFIX = "RAY_AUTOSCALER_RECONCILE_"
# As Ray reads it; in C, where PyYAML was built with it.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Autoscaler:
    """One incarnation of the monitor's autoscaler; another one knows nothing of it."""

    def __init__(self, provider: node_provider.ICloudInstanceProvider, drain: Drain, *, name: str) -> None:
        self._provider = provider
        self._name = name
        self._identified = 0
        # For how long the same update would change nothing if nothing else happens; without short cuts nobody knows.
        self.quiet_for_s = 0.0
        self.forgotten: Collection[str] = frozenset()
        """Ray node ids of the dead nodes that it need not be shown: nothing follows from them any more."""
        self._stop_errors: Queue[Any] = Queue()
        time = SimpleNamespace(time=wall_s, time_ns=lambda: int(wall_s() * _NS), monotonic=monotonic_s)
        names = SimpleNamespace(uuid4=self._uuid)
        self._replaced: tuple[tuple[ModuleType, str, object], ...] = (
            *((module, "time", time) for module in releases.that_use("time")),
            *((module, "uuid", names) for module in releases.that_use("uuid")),
            (ray_stopper, "ThreadPoolExecutor", self._new_thread),
        )
        self._threads: list[_Thread] = []
        self._log: Callable[[str], None] = lambda _: None
        with self._in_the_model():
            self._monitor = releases.resource_monitor()
            storage = self._storage(name)
            subscribers = [
                cloud_instance_updater.CloudInstanceUpdater(cloud_provider=provider),
                ray_stopper.RayStopper(gcs_client=_Gcs(drain), error_queue=self._stop_errors),
                *([] if self._monitor is None else [self._monitor]),
            ]
            self._manager = self._new_manager(storage, subscribers)
            self._scheduler = scheduler.ResourceDemandScheduler(None)

    def pop_stop_errors(self) -> list[Any]:
        """What went wrong with stopping Ray on nodes since the last time; an update takes it before all else."""
        return [self._stop_errors.get() for _ in range(self._stop_errors.qsize())]

    def close(self) -> None:
        """It waits for nothing any more."""
        for thread in self._threads:
            thread.close()

    def _new_thread(self, max_workers: int) -> _Thread:
        assert max_workers == 1
        self._threads.append(_Thread(self._going_on))
        return self._threads[-1]

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        """What goes on between two updates."""
        with self._in_the_model(), logged_to(self._log):
            yield

    def _storage(self, name: str) -> InstanceStorage:
        return InstanceStorage(cluster_id=name, storage=InMemoryStorage())

    def _new_manager(self, storage: InstanceStorage, subscribers: list[Any]) -> InstanceManager:
        return InstanceManager(storage, subscribers)

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
        """One update. What it raises, the production loop would only log."""
        self._log = log
        with self._in_the_model(), logged_to(log):
            return releases.reconcile(
                self._monitor,
                instance_manager=self._manager,
                scheduler=self._scheduler,
                cloud_provider=self._provider,
                ray_cluster_resource_state=shown.state,
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
        before = [(module, name, getattr(module, name)) for module, name, _ in self._replaced]
        try:
            for module, name, ours in self._replaced:
                setattr(module, name, ours)
            yield
        finally:
            for module, name, theirs in before:
                setattr(module, name, theirs)


MakesConfig = Callable[[str, Mapping[str, str]], AutoscalingConfig]
"""Makes Ray's configuration of YAML as the real autoscaler reads it, and of variables of the head's."""


class ClusterConfig(AutoscalingConfig):  # type: ignore[misc]
    """Ray reads its limits from the environment once, when it is imported; each cluster of the twin has its own."""

    def __init__(self, text: str, environment: Mapping[str, str]) -> None:
        warnings = logging.getLogger("ray.autoscaler._private.util")
        before = warnings.level
        warnings.setLevel(logging.ERROR)  # it warns of fields that it has put there itself
        try:
            super().__init__(yaml.load(text, Loader=_LOADER), skip_content_hash=True)
        finally:
            warnings.setLevel(before)
        usual = InstanceReconcileConfig()
        given = {
            name: int(environment[variable])
            for name in dataclasses.asdict(usual)
            if (variable := f"{LIMIT_PREFIX}{name.upper()}") in environment
        }
        self._limits = dataclasses.replace(usual, **given)

    def get_instance_reconcile_config(self) -> InstanceReconcileConfig:
        """How long an instance may stay in each transient state."""
        return self._limits


class _Unanswered(BaseException):
    """A call waits for its answer; no `Exception`, for Ray would take that for the answer."""

    def __init__(self, answer: asyncio.Task[bool | None]) -> None:
        super().__init__()
        self.answer = answer


class _Thread(Executor):
    """Does what a thread would do at once, one thing after the other; what waits for an answer holds up the rest."""

    def __init__(self, going_on: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self._going_on = going_on
        self._queue: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._waiting: asyncio.Task[None] | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Calls it when it is its turn."""
        future: Future[Any] = Future()
        self._queue.append((future, functools.partial(fn, *args, **kwargs)))
        if self._waiting is None:
            self._work()
        return future

    def close(self) -> None:
        """Does nothing any more."""
        if self._waiting is not None:
            self._waiting.cancel()

    def _work(self) -> None:
        while self._queue:
            future, call = self._queue[0]
            try:
                future.set_result(call())
            except _Unanswered as hanging:
                self._waiting = asyncio.create_task(self._wait(hanging.answer))
                return
            except Exception as error:  # noqa: BLE001 -- as a thread's
                future.set_exception(error)
            self._queue.popleft()

    async def _wait(self, answer: asyncio.Task[bool | None]) -> None:
        await asyncio.wait({answer})
        self._waiting = None
        with self._going_on():
            self._work()


class _Gcs:
    """What of the GCS's client the autoscaler stops nodes with."""

    def __init__(self, drain: Drain) -> None:
        self._drain = drain
        self._asked: dict[str, asyncio.Task[bool | None]] = {}

    def drain_node(self, *, node_id: str, **_why: object) -> tuple[bool, str]:
        """Asks a node that should be idle to end.

        Raises:
            ClusterError: the node died before it answered.
        """
        asked = self._asked.pop(node_id, None) or self._drain(node_id, True)
        if isinstance(asked, asyncio.Task) and not asked.done():
            self._asked[node_id] = asked
            raise _Unanswered(asked)
        answer = asked.result() if isinstance(asked, asyncio.Task) else asked
        if answer is None:
            raise ClusterError(f"node {node_id} died before it answered")
        return answer, "" if answer else "the node is not idle"

    def drain_nodes(self, *, node_ids: list[bytes]) -> list[bytes]:
        """Has nodes end; returns those that will."""
        return [node_id for node_id in node_ids if self._drain(node_id.hex(), False)]


@contextlib.contextmanager
def logged_to(log: Callable[[str], None]) -> Iterator[None]:
    """Takes Ray's log lines of the autoscaler."""
    handler = _Handler(log)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        if logger.getEffectiveLevel() != logging.INFO:  # a change of level empties what all loggers remember
            logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            if logger.level != level:
                logger.setLevel(level)
            logger.propagate = propagate


class _Handler(logging.Handler):
    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Hands on the line."""
        self._log(record.getMessage())
