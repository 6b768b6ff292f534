"""Targets: which nodes an injection hits, chosen at the moment it is made."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence

from pydantic import Field, model_serializer, model_validator

from chaos.cluster import Node
from chaos.value import Value

SELECTORS = ("head", "oldest", "newest", "random", "all")
_COUNTABLE = ("oldest", "newest", "random")
_ROUNDING = 1e-9  # a share such as 0.07 of 100 nodes is 7 nodes, though the product is a little more than 7
_ORDINAL = re.compile(r"w[1-9][0-9]*")


class Target(Value):
    """A selector over the live nodes.

    Written as a word (`w3`, `head`, `oldest`, `newest`, `random`, `all`) or as a mapping: `{select: random, count: 2}`,
    `{select: random, share: 0.5}`, each optionally with `node_type`. Only `head` ever selects the head.
    """

    select: str = "random"
    count: int | None = Field(default=None, ge=1)
    share: float | None = Field(default=None, gt=0.0, le=1.0)
    node_type: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, data: object) -> object:
        return {"select": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _meaningful(self) -> Target:
        if self.select not in SELECTORS and not _ORDINAL.fullmatch(self.select):
            raise ValueError(
                f"target {self.select!r} cannot exist; allowed: {', '.join(SELECTORS)}, or a launch ordinal w1, w2, …"
            )
        if self.count is not None and self.share is not None:
            raise ValueError("give count or share, not both")
        if (self.count or self.share) and self.select not in _COUNTABLE:
            raise ValueError(f"count and share have no meaning with select: {self.select}")
        return self

    @model_serializer
    def _to_word(self) -> str | dict[str, str | int | float]:
        extra = {
            key: value
            for key, value in (("count", self.count), ("share", self.share), ("node_type", self.node_type))
            if value is not None
        }
        return {"select": self.select, **extra} if extra else self.select

    @property
    def names_one(self) -> bool:
        """Whether it names a node itself; the other selectors choose among the nodes that have joined Ray."""
        return self.select == "head" or _ORDINAL.fullmatch(self.select) is not None

    def resolve(self, nodes: Sequence[Node], rng: random.Random) -> tuple[str, ...]:
        """The chosen nodes' names, in launch order; empty when none fits.

        `random` shuffles by `rng`; `oldest` and `newest` go by launch ordinal; a share is rounded up.
        """
        if self.select == "head":
            return tuple(node.node for node in nodes if node.node == "head")
        workers = sorted(
            (
                node
                for node in nodes
                if node.node != "head"
                and node.state in ("running", "paused")
                and self.node_type in (None, node.node_type)
            ),
            key=lambda node: node.ordinal,
        )
        if _ORDINAL.fullmatch(self.select):
            return tuple(node.node for node in workers if node.node == self.select)
        if self.select == "all":
            return tuple(node.node for node in workers)
        wanted = self.count or (math.ceil(self.share * len(workers) - _ROUNDING) if self.share else 1)
        if self.select == "newest":
            chosen = workers[-wanted:]
        elif self.select == "oldest":
            chosen = workers[:wanted]
        else:
            chosen = rng.sample(workers, min(wanted, len(workers)))
        return tuple(node.node for node in sorted(chosen, key=lambda node: node.ordinal))
