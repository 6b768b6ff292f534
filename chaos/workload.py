"""A workload: a job with a known right answer.

The engine starts `driver_module` on the head node and, when it has ended, `verify_module`; both print events as lines
`EVENT_PREFIX + JSON` with `monotonic_s` beside the event's fields, and write what they compute under a directory all
nodes share. Batch operations are appended by the workers to `ops/*.jsonl` in that directory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

from pydantic import Field

from chaos.events import Resources
from chaos.value import Value

EVENT_PREFIX = "@raychaos "


class Workload(Value, ABC):
    """Validated parameters of one job."""

    name: ClassVar[str]
    summary: ClassVar[str]
    driver_module: ClassVar[str]
    verify_module: ClassVar[str]

    @property
    @abstractmethod
    def rows_total(self) -> int:
        """How many rows the output must hold."""

    @abstractmethod
    def bundles(self) -> tuple[Resources, ...]:
        """The resource shapes the job asks for, one of each; each must fit some node type."""

    @abstractmethod
    def nodes_wanted(self, bundle_fits_per_node: int) -> int:
        """How many nodes the job's largest demand needs when one node holds that many bundles."""

    def environment(self) -> dict[str, str]:
        """Variables the driver needs beside the cluster's own."""
        return {}

    async def play(self, site: ModelSite) -> None:
        """Does in the twin what the driver does on a real cluster, and returns when all rows are computed.

        Raises:
            NotImplementedError: there is no model of this workload.
        """
        raise NotImplementedError(f"there is no model of {self.name} for the twin")


class ResumableWorkload(Workload):
    """A workload whose driver, started again after an end without a word, goes on where the dead one was.

    The engine starts it again at most `driver_restarts` times. All attempts are given the same parameters and the same
    directory; nothing of a dead attempt may be in the output twice.
    """

    driver_restarts: int = Field(default=0, ge=0)


class ModelSite(Protocol):
    """What a workload's model is given in the twin: time, a cluster that runs its work, and a history to report to."""

    def report(self, event: Value) -> None:
        """An event, as the driver would print it."""
        ...

    async def sleep(self, seconds: float) -> None:
        """That much later."""
        ...

    async def hold(self, bundle: Resources) -> ModelPlace:
        """Waits for room on a node, and holds it."""
        ...


class ModelPlace(Protocol):
    """Room on a node of the twin, held until it is let go or the node is lost."""

    async def compute(self, rows: range, seconds: float) -> bool:
        """Computes a batch there; false when the node was lost first, with the room on it."""
        ...

    def let_go(self) -> None:
        """Gives the room back; harmless when it is lost."""
        ...
