"""A Hypothesis state machine over a Ray cluster: rules inject, heal, ask for work and let time pass.

The properties are its invariants: after each rule, no checker may have found a failure in what has happened so far; and
at the end, when all is healed and the cluster has come to rest, none in the run as a whole.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chaos.background import Background
from chaos.checker import Verdict
from chaos.checkers import evaluate
from chaos.cluster import Cluster
from chaos.cluster_spec import ClusterSpec
from chaos.clusters.sim import twin_of
from chaos.commands import TWIN, cluster_class
from chaos.errors import InvalidSpec
from chaos.fault import Fault
from chaos.history import History
from chaos.installed import versions
from chaos.report.live import SilentView
from chaos.report.text import render_headline
from chaos.schedule import Injection, Schedule
from chaos.session import DURATION_LIMIT_S, Session
from chaos.sim.loop import VirtualTime
from chaos.spec import RunSpec, missing_on, refuse_impossible
from chaos.store import create
from chaos.target import Target
from chaos.twin import repeatable_id
from chaos.warm import WarmClusters
from chaos.workload import SteppedWorkload

T = TypeVar("T")

_TARGETS = tuple(Target(select=select) for select in ("oldest", "newest", "random"))
# For all steps together.
_DEADLINE_S = 3600.0
# That nothing progresses says nothing where a rule may ask for nothing.
_NOT_JUDGED = ("stayed_live",)


class _Time(Protocol):
    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T: ...

    def close(self) -> None: ...


class _Live:
    """The loop and the warm clusters that all machines of this process share."""

    def __init__(self) -> None:
        self.time = Background()
        self.clusters = WarmClusters("machine", view=SilentView)

    def close(self) -> None:
        """Ends the clusters."""
        self.time.call(self.clusters.close)
        self.time.close()


_live: list[_Live] = []


class ClusterMachine(RuleBasedStateMachine):
    """Subclass it with a `workload`, such as `workloads.OpenLoad()`, and the `faults` rules may inject.

    `cluster` is the twin unless it says otherwise. Rules and invariants of your own go beside these; they find what has
    happened so far in `history`. Faults must be such that the job survives them, and the cluster must be able to do
    them.

    Raises:
        InvalidSpec: the cluster cannot do one of the faults, or the job cannot survive it.
    """

    cluster: ClassVar[ClusterSpec] = ClusterSpec(kind="sim")
    workload: ClassVar[SteppedWorkload]
    faults: ClassVar[Sequence[Fault]] = ()
    seed: ClassVar[int] = 0
    most_seconds: ClassVar[int] = 30

    def __init__(self) -> None:
        super().__init__()
        self._lasting: list[str] = []
        self._failed = False
        self._session: Session | None = None
        self._store = Path(tempfile.mkdtemp(prefix="raychaos-machine-"))
        self._time: _Time = VirtualTime() if self.cluster.kind == TWIN else _shared().time
        self._on: Cluster | None = None

    @classmethod
    def _to_test_case(cls) -> Any:  # type: ignore[override]
        """Hypothesis's test case; the clusters end with it."""
        case = super()._to_test_case()
        setattr(case, "tearDownClass", cls.end_clusters)  # noqa: B010 -- a class made by Hypothesis
        return case

    @staticmethod
    def end_clusters() -> None:
        """Ends the warm clusters of all machines, for those who run machines without their `TestCase`."""
        while _live:
            _live.pop().close()

    @cached_property
    def spec(self) -> RunSpec:
        """What a run of this machine is."""
        return RunSpec(
            name="machine", seed=self.seed, cluster=self.cluster, workload=self.workload, deadline_s=_DEADLINE_S
        )

    @property
    def history(self) -> History:
        """What has happened so far; nothing, before the load has begun."""
        return History() if self._session is None else self._session.history

    @initialize()
    def begin(self) -> None:
        """Starts the cluster, or takes the warm one, and the workload, which waits for what it is told."""
        _refuse(self.spec, self.faults)
        self._call(self._begin)

    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        """Demand: some tasks at a time, and batches for them."""
        tasks = data.draw(st.integers(1, self.workload.nodes_wanted(1)), label="tasks")
        batches = data.draw(st.integers(1, 8), label="batches")
        self._do(lambda session: session.demand(tasks, batches=batches))

    @rule()
    def ask_for_nothing(self) -> None:
        """No demand but what runs."""
        self._do(lambda session: session.demand(0, batches=0))

    @rule(data=st.data())
    def let_pass(self, data: st.DataObject) -> None:
        """Time passes."""
        seconds = data.draw(st.integers(1, self.most_seconds), label="seconds")
        assert self._session is not None
        session = self._session
        self._call(lambda: session.wait(float(seconds)))

    @precondition(lambda self: self.faults)
    @rule(data=st.data())
    def inject(self, data: st.DataObject) -> None:
        """A fault; one that lasts does so until it is healed, or the load ends."""
        fault = data.draw(st.sampled_from(list(self.faults)), label="fault")
        on_nodes = type(fault).acts_on == "nodes"
        target = data.draw(st.sampled_from(_TARGETS), label="target") if on_nodes else None
        name = self._do(lambda session: session.inject(fault, target=target))
        if type(fault).lasts:
            self._lasting.append(name)

    @precondition(lambda self: self._lasting)
    @rule(data=st.data())
    def heal(self, data: st.DataObject) -> None:
        """One of the faults in force is healed."""
        name = data.draw(st.sampled_from(self._lasting), label="injection")
        self._lasting.remove(name)
        self._do(lambda session: session.heal(name))

    @invariant()
    def the_properties_hold(self) -> None:
        """No checker finds a failure."""
        self._judge(self.history)

    def teardown(self) -> None:
        """The load ends, all is healed, the cluster comes to rest, and the run is judged as a whole."""
        try:
            if self._session is not None and not self._failed:
                self._judge(self._call(self._session.end))
        finally:
            self._time.call(self._end)
            if self.cluster.kind == TWIN:
                self._time.close()
            shutil.rmtree(self._store, ignore_errors=True)

    def _judge(self, history: History) -> None:
        failed = [verdict for verdict in _verdicts(history) if verdict.verdict == "fail"]
        if failed:
            self._failed = True
            raise AssertionError(render_headline(history, failed))

    def _do(self, what: Callable[[Session], T]) -> T:
        """Does something at once, in the session's own time; a moment passes, in which it comes into force."""
        session = self._session
        assert session is not None

        async def do() -> T:
            done = what(session)
            await session.wait(0.1)
            return done

        return self._call(do)

    def _call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return self._time.call(work)
        except BaseException:
            self._failed = True
            raise

    async def _begin(self) -> None:
        if self.cluster.kind == TWIN:
            twin = twin_of("machine", self.cluster, seed=self.seed)
            self._on = twin
            await twin.start()
        else:
            self._on = await _shared().clusters.obtain(self.cluster, scope="machine")
        directory = create(self._store, self.spec)
        run_id = repeatable_id(self.spec) if self.cluster.kind == TWIN else None
        self._session = Session(self.spec, self._on, directory, versions=versions(), view=SilentView(), run_id=run_id)
        await self._session.begin()

    async def _end(self) -> None:
        if self._session is not None:
            await self._session.break_off()
        if self.cluster.kind != TWIN:
            if self._failed:
                await _shared().clusters.let_go(self.cluster, scope="machine")
        elif self._on is not None:
            await self._on.stop()


def _shared() -> _Live:
    if not _live:
        _live.append(_Live())
    return _live[0]


def _verdicts(history: History) -> list[Verdict]:
    return [verdict for verdict in evaluate(history) if verdict.name not in _NOT_JUDGED]


def _refuse(spec: RunSpec, faults: Sequence[Fault]) -> None:
    """Refuses faults that cannot be, before anything starts."""
    injections = []
    for fault in faults:
        target = _TARGETS[0] if type(fault).acts_on == "nodes" else None
        lasting = {"duration_s": DURATION_LIMIT_S} if type(fault).lasts else {}
        injections.append(Injection(fault=fault, target=target, at_s=0.0, **lasting))
    whole = spec.model_copy(update={"schedule": Schedule(injections=tuple(injections))})
    refuse_impossible(whole, name="this machine")
    missing = missing_on(whole, cluster_class(spec.cluster.kind, provider=spec.cluster.twin.provider))
    fatal = [f"{one.fault.name} ends what the job needs" for one in whole.schedule.injections if one.mainstays]
    if told := (*missing, *fatal):
        raise InvalidSpec("; ".join(told) + "; leave it out")
