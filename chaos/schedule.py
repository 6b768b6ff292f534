"""Schedules: immutable, ordered injections; a content hash is their identity."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field, JsonValue, SerializeAsAny, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from chaos import yaml_text
from chaos.errors import InvalidSpec
from chaos.events import Event
from chaos.fault import Fault, FaultCatalogue, Mainstay
from chaos.spelling import unknown_name
from chaos.target import Target
from chaos.value import Value


@functools.cache
def _event_kinds() -> tuple[str, ...]:
    union = Event.__args__[0]
    return tuple(kind.model_fields["kind"].default for kind in union.__args__)


class Anchor(Value):
    """An event of the history to wait for: the `nth` of a kind, or progress reaching a share of the rows.

    Of events that are of a node type, or of an injection, it may mean those of one only. With `since`, it counts the
    events after the injection of that id was made.
    """

    event: str | None = None
    nth: int = Field(default=1, ge=1)
    node_type: str | None = None
    injection: str | None = None
    since: str | None = None
    progress_percent: float | None = Field(default=None, gt=0.0, le=100.0)

    @field_validator("event")
    @classmethod
    def _known_event(cls, event: str | None) -> str | None:
        if event is not None and event not in _event_kinds():
            raise ValueError(unknown_name("event", event, _event_kinds()))
        return event

    @model_validator(mode="after")
    def _one_of(self) -> Anchor:
        if (self.event is None) == (self.progress_percent is None):
            raise ValueError("give either `event` or `progress_percent`")
        if self.injection is not None and not str(self.event).startswith("fault."):
            raise ValueError("`injection` goes with the events of injections: fault.injected, fault.healed, …")
        if self.since is not None and self.event is None:
            raise ValueError("`since` goes with `event`: progress is counted from the beginning")
        return self

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The ids of the injections without which it does not come."""
        return tuple(name for name in (self.injection, self.since) if name is not None)


class Trigger(Value):
    """When: at `at_s` seconds after the workload started, or `after_s` seconds after an anchor event.

    Where that event has not come by `or_at_s` seconds after the workload started, it is then.
    """

    at_s: float | None = Field(default=None, ge=0.0)
    on: Anchor | None = None
    after_s: float = Field(default=0.0, ge=0.0)
    or_at_s: float | None = Field(default=None, gt=0.0)

    @model_validator(mode="after")
    def _one_of(self) -> Trigger:
        if (self.at_s is None) == (self.on is None):
            raise ValueError("give either `at_s` or `on`")
        if self.at_s is not None and self.after_s:
            raise ValueError("`after_s` goes with `on`, not with `at_s`")
        if self.at_s is not None and self.or_at_s is not None:
            raise ValueError("`or_at_s` goes with `on`, for an event that may not come; with `at_s` there is none")
        return self


class Frame(Trigger):
    """The fields of an injection that are not the fault's own."""

    id: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]*$")
    target: Target | None = None
    duration_s: float | None = Field(default=None, gt=0.0)
    may_miss: bool = False


class Injection(Frame):
    """One fault, with its target, its trigger and, where the fault lasts, its duration.

    `may_miss` accepts that the fault finds no target, is beyond the blast radius, or shows no effect.
    """

    fault: SerializeAsAny[Fault]

    @model_validator(mode="after")
    def _consistent(self) -> Injection:
        fault = type(self.fault)
        if fault.lasts and self.duration_s is None:
            raise ValueError(f"{fault.name} lasts: give duration_s, in seconds")
        if not fault.lasts and self.duration_s is not None:
            raise ValueError(f"{fault.name} happens at once: duration_s has no meaning")
        if fault.acts_on == "nodes" and self.target is None:
            raise ValueError(f"{fault.name} needs a target: w1, oldest, newest, random, all or head")
        if fault.acts_on == "cluster" and self.target is not None:
            raise ValueError(f"{fault.name} acts on the cluster as a whole: it takes no target")
        if fault.acts_on == "launches" and self.target is not None:
            raise ValueError(f"{fault.name} acts on launches, not on nodes: use node_type instead of target")
        if fault.acts_on == "cloud" and self.target is not None:
            raise ValueError(f"{fault.name} acts on the cloud, not on nodes: leave target out")
        if fault.acts_on in ("head", "driver") and self.target is not None:
            raise ValueError(f"{fault.name} acts on the {fault.acts_on}, of which there is one: leave out target")
        return self

    @property
    def mainstays(self) -> frozenset[Mainstay]:
        """What it hits that a job cannot do without."""
        return self.fault.hits(self.target.select if self.target else None)

    def to_data(self) -> dict[str, JsonValue]:
        """The injection as one flat mapping, without what is default."""
        frame = self.model_dump(mode="json", exclude={"fault"}, exclude_defaults=True)
        return {"fault": type(self.fault).name, **self.fault.model_dump(mode="json", exclude_defaults=True), **frame}

    @staticmethod
    def from_data(data: object, catalogue: FaultCatalogue) -> Injection:
        """The injection a flat mapping describes.

        Raises:
            ValidationError: wrong fields; locations are those of the flat mapping.
            ValueError: no mapping, or no fault.
            Misplaced: an unknown fault or field.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"an injection must be a mapping with a `fault`, not {type(data).__name__}")
        if "fault" not in data:
            raise ValueError(f"an injection needs a `fault`; allowed: {', '.join(sorted(catalogue))}")
        name = data["fault"]
        if not isinstance(name, str) or name not in catalogue:
            raise Misplaced(("fault",), unknown_name("fault", str(name), catalogue))
        frame = {key: value for key, value in data.items() if key in Frame.model_fields}
        own = {key: value for key, value in data.items() if key not in frame and key != "fault"}
        kind = catalogue[name]
        unknown = [str(key) for key in own if key not in kind.model_fields]
        if unknown:
            allowed = [*kind.model_fields, *Frame.model_fields]
            raise Misplaced((unknown[0],), unknown_name(f"field of {name}", unknown[0], allowed))
        return Injection(fault=kind.model_validate(own), **Frame.model_validate(frame).model_dump())


class Schedule(Value):
    """An immutable sequence of injections; each has an id, given or by its place (`i1`, `i2`, …)."""

    injections: tuple[Injection, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _name_all(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and isinstance(data.get("injections"), (tuple, list)):
            named = tuple(
                injection.model_copy(update={"id": f"i{place}"})
                if isinstance(injection, Injection) and not injection.id
                else injection
                for place, injection in enumerate(data["injections"], start=1)
            )
            return {**data, "injections": named}
        return data

    @model_validator(mode="after")
    def _ids_differ(self) -> Schedule:
        ids = [injection.id for injection in self.injections]
        twice = next((name for name in ids if ids.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two injections have the id {twice!r}; ids must differ")
        return self

    @model_validator(mode="after")
    def _waited_for(self) -> Schedule:
        named = {injection.id: injection for injection in self.injections}
        awaited = {name: injection.on.waits_for if injection.on else () for name, injection in named.items()}
        for name, others in awaited.items():
            if unknown := next((other for other in others if other not in named), None):
                raise ValueError(f"{name} waits for {unknown_name('injection', unknown, list(named))}")
        for name, injection in named.items():
            if (through := _way_back(name, awaited)) is not None:
                raise ValueError(f"{name} waits for itself" + f", by way of {' and '.join(through)}" * bool(through))
            other = injection.on.injection if injection.on and injection.on.event == "fault.healed" else None
            if other and not named[other].fault.lasts:
                raise ValueError(f"{name} waits until {other} is healed, which does not last: use fault.probed")
        return self

    def to_data(self) -> list[JsonValue]:
        """The injections as flat mappings."""
        return [dict(injection.to_data()) for injection in self.injections]

    def to_yaml(self) -> str:
        """The schedule as YAML; equal schedules give equal bytes."""
        return yaml_text.dump({"injections": self.to_data()})

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON, every default written out.

        But for `or_at_s`, which is younger than recorded hashes: it counts where it is given.
        """
        whole = [
            {
                "name": type(i.fault).name,
                **i.model_dump(mode="json", exclude={"or_at_s"} if i.or_at_s is None else None),
            }
            for i in self.injections
        ]
        canonical = json.dumps(whole, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @staticmethod
    def from_data(data: object, catalogue: FaultCatalogue) -> Schedule:
        """The schedule a list of flat mappings (or a mapping with `injections`) describes.

        Raises:
            Misplaced: something in it cannot be meant; carries the place in the data.
        """
        items, root = data, tuple[str | int, ...]()
        if isinstance(data, Mapping):
            extra = [key for key in data if key != "injections"]
            if extra:
                raise Misplaced((str(extra[0]),), unknown_name("field", str(extra[0]), ["injections"]))
            items, root = data.get("injections", []), ("injections",)
        if not isinstance(items, (list, tuple)):
            raise Misplaced(root, f"a schedule is a list of injections, not {type(items).__name__}")
        injections: list[Injection] = []
        for place, item in enumerate(items):
            try:
                injections.append(Injection.from_data(item, catalogue))
            except ValidationError as error:
                first = error.errors()[0]
                raise Misplaced((*root, place, *first["loc"]), _message(first)) from error
            except Misplaced as error:
                raise Misplaced((*root, place, *error.place), error.message) from error
            except ValueError as error:
                raise Misplaced((*root, place), str(error)) from error
        try:
            return Schedule(injections=tuple(injections))
        except ValidationError as error:
            raise Misplaced(root, _message(error.errors()[0])) from error


def _way_back(name: str, awaited: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    """The injections by way of which one waits for itself; None where it does not."""
    ways: list[tuple[str, ...]] = [(other,) for other in awaited[name]]
    met = set[str]()
    while ways:
        way = ways.pop(0)
        if way[-1] == name:
            return way[:-1]
        if way[-1] not in met:
            met.add(way[-1])
            ways += [(*way, other) for other in awaited[way[-1]]]
    return None


class Misplaced(InvalidSpec):
    """Something in structured data cannot be meant; `place` is the path to it."""

    def __init__(self, place: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


def _message(error: ErrorDetails) -> str:
    place = error["loc"]
    if error["type"] == "extra_forbidden" and len(place) == 2 and place[0] in _NESTED:
        return unknown_name(f"field of {place[0]}", str(place[1]), _NESTED[str(place[0])].model_fields)
    return error["msg"].removeprefix("Value error, ")


_NESTED: Mapping[str, type[Value]] = {"on": Anchor, "target": Target}
