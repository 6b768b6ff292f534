"""The cluster a test is given: it runs workloads under schedules, and the test asserts what came of them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.background import Background
from chaos.campaign import View
from chaos.commands import TWIN, cluster_class
from chaos.errors import InvalidSpec
from chaos.judged_run import JudgedRun
from chaos.schedule import Schedule
from chaos.spec import Catalogue, RunSpec, missing_on, parse, read_text, refuse_impossible
from chaos.store import RunDirectory
from chaos.twin_runs import TwinRuns
from chaos.warm import WarmClusters
from chaos.workload import Workload

# How many of a test's runs keep their directories.
_KEPT = 3


@dataclass(frozen=True)
class ClusterWish:
    """Which cluster a test wants: a kind, how many workers it may have, and what else a specification says."""

    cluster: str = "local"
    workers: int | None = None
    spec: str | None = None
    set: tuple[str, ...] = ()

    def resolve(self, catalogue: Catalogue, *, beside: Path) -> RunSpec:
        """The specification runs are made from; a file is looked for beside the test.

        Raises:
            InvalidSpec: something in it cannot be meant.
        """
        text = "{}" if self.spec is None else read_text(beside / self.spec)
        overrides = [f"cluster.kind={self.cluster}", *self.set]
        spec = parse(text, catalogue, name=self.spec or "the mark raychaos", overrides=overrides)
        if self.workers is None:
            return spec
        kinds = {
            name: kind.model_copy(update={"max_workers": self.workers})
            for name, kind in spec.cluster.node_types.items()
        }
        cluster = spec.cluster.model_copy(update={"max_workers": self.workers, "node_types": kinds})
        return spec.model_copy(update={"cluster": type(cluster).model_validate(cluster.model_dump())})


@dataclass
class Setting:
    """What `ray_cluster` stands for while one test runs, and the runs the test has made.

    `runs` are the newest; `failed` says of all that did not pass, by specification, where they lie, the one asked for
    last at the end: to hold them all would take gigabytes.
    """

    wish: ClusterWish
    scope: str
    beside: Path
    runs: list[JudgedRun] = field(default_factory=list)
    failed: dict[str, Path] = field(default_factory=dict)


class ClusterUnderTest:
    """The fixture `ray_cluster`. Which cluster it is, each test says by its mark; none is started before the first run.

    A schedule that has failed in a test is not run again in it: what was recorded stands, as often as Hypothesis asks
    for it. A real cluster need not fail twice alike; the twin does.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        store: Path,
        *,
        name: str,
        view: Callable[[], View],
        on_run: Callable[[JudgedRun], None],
        before_run: Callable[[], None],
    ) -> None:
        self._catalogue = catalogue
        self._store = store
        self._background: Background | None = None
        self._warm = WarmClusters(name, view=view)
        self._twins = TwinRuns(view=view)
        self._on_run = on_run
        self._before_run = before_run
        self._setting: Setting | None = None

    @property
    def kind(self) -> str:
        """`sim`, `local` or `compose`."""
        return self._test.wish.cluster

    def run(
        self,
        workload: Workload,
        schedule: Schedule | None = None,
        *,
        seed: int | None = None,
        deadline_s: float | None = None,
        bounds: Mapping[str, Any] | None = None,
    ) -> JudgedRun:
        """Runs a workload under a schedule (none: without faults), and judges it.

        `seed` chooses random targets; `deadline_s` and `bounds` are those of a specification, where other than usual.

        Raises:
            InvalidSpec: the cluster cannot do what the schedule asks for; says what, and which can.
            ClusterUnavailable: this machine cannot run the cluster.
            ClusterError: the cluster failed.
        """
        __tracebackhide__ = True
        spec = self._spec(workload, schedule or Schedule(), seed=seed, deadline_s=deadline_s, bounds=bounds or {})
        test = self._test
        recorded = test.failed.get(spec.to_yaml())
        if recorded is not None:
            known = JudgedRun.load(spec, RunDirectory(recorded))
            self._remember(test, known)
            self._on_run(known)
            return known
        self._before_run()
        self._store.mkdir(parents=True, exist_ok=True)
        if spec.cluster.kind == TWIN:
            _refuse_in_a_loop()
            path = self._twins.run(spec, store=self._store)
        else:
            self._background = self._background or Background()
            path = self._background.call(lambda: self._warm.run(spec, store=self._store, scope=test.scope))
        run = JudgedRun.load(spec, RunDirectory(path))
        self._remember(test, run)
        self._on_run(run)
        return run

    def enter(self, setting: Setting) -> None:
        """A test begins."""
        self._setting = setting

    @property
    def runs(self) -> tuple[JudgedRun, ...]:
        """The newest runs of the test, the last of them last."""
        return tuple(self._test.runs)

    def leave(self, *, keep_runs: bool, keep_cluster: bool) -> str | None:
        """The test has ended. What is not to be kept of it goes; of a cluster that stays it is said how to use it."""
        test, self._setting = self._test, None
        failed = list(test.failed.values())
        kept = set(failed[-_KEPT:]) if keep_runs else set()
        for path in {*(run.directory.path for run in test.runs), *failed} - kept:
            shutil.rmtree(path, ignore_errors=True)
        if not keep_cluster or not test.runs or self._background is None:
            return None
        cluster = test.runs[-1].spec.cluster
        return self._background.call(lambda: self._warm.leave(cluster, scope=test.scope))

    def end(self, scope: str) -> None:
        """Ends the clusters of a scope."""
        if self._background is not None:
            self._background.call(lambda: self._warm.end(scope))

    def close(self) -> None:
        """Ends all clusters."""
        background, self._background = self._background, None
        if background is not None:
            try:
                background.call(self._warm.close)
            finally:
                background.close()

    @property
    def _test(self) -> Setting:
        assert self._setting is not None, "ray_cluster is for use in tests"
        return self._setting

    def _spec(
        self,
        workload: Workload,
        schedule: Schedule,
        *,
        seed: int | None,
        deadline_s: float | None,
        bounds: Mapping[str, Any],
    ) -> RunSpec:
        __tracebackhide__ = True
        test = self._test
        base = test.wish.resolve(self._catalogue, beside=test.beside)
        given: dict[str, Any] = {"workload": workload, "schedule": schedule}
        given |= {} if seed is None else {"seed": seed}
        given |= {} if deadline_s is None else {"deadline_s": deadline_s}
        given |= {"bounds": type(base.bounds).model_validate({**base.bounds.model_dump(), **bounds})} if bounds else {}
        spec = base.model_copy(update=given)
        refuse_impossible(spec, name="this run")
        if missing := missing_on(spec, cluster_class(spec.cluster.kind, provider=spec.cluster.twin.provider)):
            raise InvalidSpec("; ".join(missing) + "; `raychaos doctor` lists what each cluster can do")
        return spec

    def _remember(self, test: Setting, run: JudgedRun) -> None:
        """Of a test's many runs the newest are held, and those that failed are left where they lie."""
        test.runs.append(run)
        if not run.passed:
            key = run.spec.to_yaml()
            test.failed.pop(key, None)
            test.failed[key] = run.directory.path
        for old in test.runs[:-_KEPT]:
            if old.passed:
                shutil.rmtree(old.directory.path, ignore_errors=True)
        test.runs = test.runs[-_KEPT:]


def _refuse_in_a_loop() -> None:
    """The twin's time is an event loop's own, and a thread has one loop at a time."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise InvalidSpec(
        "a coroutine cannot run the twin, which has an event loop of its own: make the test a plain function"
    )
