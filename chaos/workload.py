"""A workload: a job with a known right answer.

The engine starts `driver_module` on the head node and, when it has ended, `verify_module`; both print events as lines
`EVENT_PREFIX + JSON` with `monotonic_s` beside the event's fields, and write what they compute under a directory all
nodes share. Batch operations are appended by the workers to `ops/*.jsonl` in that directory.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from pydantic import Field, model_validator

from chaos.cluster_spec import ClusterSpec
from chaos.events import Resources
from chaos.value import Value

EVENT_PREFIX = "@raychaos "
LOAD_FILE = "load.json"


Strategy: TypeAlias = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]
"""How Ray places the bundles of a placement group: on few nodes or many where that can be, or strictly on one or each
on a node of its own."""


class Operation(NamedTuple):
    """A batch, by its id, that was `invoked`, or `completed` or `failed` (`phase`) with an `error`, on an instance.

    `rows` are a range list, and `monotonic_s` is by the clock of the machine.
    """

    op: str
    phase: str
    instance: str
    rows: str
    monotonic_s: float
    error: str = ""


class Stage(Value):
    """A stretch of the profile: `batches` tasks, `tasks` of them at a time; or none for `pause_s` seconds.

    From its beginning to its end room for `request` tasks is asked for by `request_resources`, be there tasks or not.
    """

    tasks: int = Field(ge=0)
    batches: int = Field(default=0, ge=0)
    pause_s: float = Field(default=0.0, ge=0.0)
    request: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_kind(self) -> Stage:
        if self.tasks == 0 and (self.batches or not self.pause_s):
            raise ValueError("a stage without tasks is a pause: it needs pause_s, and no batches")
        if self.tasks and (self.pause_s or self.batches < self.tasks):
            raise ValueError(f"a stage of {self.tasks} tasks at a time needs at least as many batches, and no pause_s")
        return self


class Workload(Value, ABC):
    """Validated parameters of one job."""

    name: ClassVar[str]
    summary: ClassVar[str]
    driver_module: ClassVar[str]
    verify_module: ClassVar[str]

    @classmethod
    def agreed(cls, drawn: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fields that were drawn each by itself, made to agree with one another; for one whose fields depend on others.

        What comes of it must be valid, whatever was drawn.
        """
        return drawn

    @property
    @abstractmethod
    def rows_total(self) -> int:
        """How many rows the output must hold."""

    @abstractmethod
    def bundles(self) -> tuple[Resources, ...]:
        """The resource shapes the job asks for, one of each; each must fit some node type."""

    @property
    def together(self) -> int:
        """How many bundles of its first shape must have room at once, or it never gets on."""
        return 1

    @property
    def apart(self) -> bool:
        """Whether each of these needs a node of its own."""
        return False

    @abstractmethod
    def nodes_wanted(self, bundle_fits_per_node: int) -> int:
        """How many nodes the job's largest demand needs when one node holds that many bundles."""

    def environment(self) -> dict[str, str]:
        """Variables the driver needs beside the cluster's own."""
        return {}

    def varied(self, source: random.Random, *, length_s: float) -> Workload:  # noqa: ARG002
        """Other demand of the kind, drawn by chance, that lasts about so long on enough nodes; this, by default."""
        return self


def too_large(workload: Workload, cluster: ClusterSpec) -> str:
    """Why a cluster can never have the room that a workload needs at once; empty where it can."""
    bundle, apart = workload.bundles()[0], workload.apart
    if workload.together <= (room := cluster.room_for(bundle, apart=apart)):
        return ""
    how = "at once, each on a node of its own" if apart else "at once"
    return (
        f"{workload.name} needs room for {workload.together} bundles of {bundle} {how}, and the cluster's limits hold "
        f"{room}; ask for fewer, or raise max_workers"
    )


def too_small(workload: Workload, cluster: ClusterSpec) -> bool:
    """Whether the workers that are always there have room for all that a workload ever wants, so that none is added."""
    bundle = workload.bundles()[0]
    if workload.apart and workload.together > cluster.room_kept_for(bundle, apart=True):
        return False
    return workload.nodes_wanted(1) <= cluster.room_kept_for(bundle, apart=False)


class ResumableWorkload(Workload):
    """A workload whose driver, started again after an end without a word, goes on where the dead one was.

    The engine starts it again at most `driver_restarts` times. All attempts are given the same parameters and the same
    directory; nothing of a dead attempt may be in the output twice.
    """

    driver_restarts: int = Field(default=0, ge=0)


class Load(Value):
    """What a stepped workload is to do: `tasks` at a time, until `batches` of them have begun in all; then it waits.

    Once `ended` it computes what is left and ends.
    """

    tasks: int = Field(default=0, ge=0)
    batches: int = Field(default=0, ge=0)
    ended: bool = False

    def tell(self, data: Path) -> None:
        """Writes it, whole or not at all, into the directory of a run's data."""
        written = data / f"{LOAD_FILE}.new"
        written.write_text(self.model_dump_json())
        written.replace(data / LOAD_FILE)

    @staticmethod
    def told(data: Path) -> Load:
        """What was told last; nothing to do, where nothing was."""
        try:
            return Load.model_validate_json((data / LOAD_FILE).read_text())
        except FileNotFoundError:
            return Load()


class SteppedWorkload(Workload):
    """A workload that does what it is told while it runs, in `LOAD_FILE` in the directory of its data."""


@runtime_checkable
class HasModel(Protocol):
    """A workload that can be played in the twin."""

    async def play(self, site: ModelSite) -> None:
        """Does in the twin what the driver does on a real cluster, and returns when all rows are computed."""
        ...


class ModelSite(Protocol):
    """What a workload's model is given in the twin: time, a cluster that runs its work, and a history to report to."""

    def report(self, event: Value) -> None:
        """An event, as the driver would print it."""
        ...

    async def sleep(self, seconds: float) -> None:
        """That much later."""
        ...

    def load(self) -> Load:
        """What a stepped workload was told last."""
        ...

    def computed(self) -> frozenset[int]:
        """The rows that are computed already, by this driver or one before it."""
        ...

    async def hold(self, bundle: Resources) -> ModelPlace:
        """Waits for room on a node, and holds it."""
        ...

    def gather(self, bundles: Sequence[Resources], strategy: Strategy) -> ModelGang:
        """A placement group: it gets room for all of its bundles together, or for none."""
        ...

    def request(self, bundles: Sequence[Resources]) -> None:
        """Ray's `request_resources`: the cluster is to have room for these, in place of what was requested before."""
        ...

    def ask(self, bundles: Sequence[Resources], *, expire_after_s: float) -> None:
        """Asks for room as Ray Data does; what is not asked for anew expires after so long."""
        ...

    def withdraw(self) -> None:
        """Takes back what was asked for as Ray Data does; harmless when that is nothing."""
        ...


class ModelPlace(Protocol):
    """Room on a node of the twin, held until it is let go or the node is lost."""

    async def compute(self, rows: range, seconds: float) -> bool:
        """Computes a batch there; false when the node was lost first, with the room on it."""
        ...

    def let_go(self) -> None:
        """Gives the room back; harmless when it is lost."""
        ...


class ModelGang(Protocol):
    """A placement group of the twin, from when it is asked for until it is let go."""

    async def compute(self, bundle: int, rows: range, seconds: float) -> bool:
        """Computes a batch in one of its bundles, by place, as soon as that has room; false when it was lost first.

        A bundle whose node was lost waits for room again, as its group does then.
        """
        ...

    def let_go(self) -> None:
        """Gives all of its room back."""
        ...
