"""The specification of a run: cluster, workload, schedule, bounds; errors in its YAML point at the place."""

from __future__ import annotations

import itertools
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, JsonValue, SerializeAsAny, TypeAdapter, ValidationError

from chaos import yaml_text
from chaos.abort import Abort
from chaos.blast_radius import BlastRadius
from chaos.bounds import Bounds
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InvalidSpec
from chaos.fault import FaultCatalogue
from chaos.schedule import Misplaced, Schedule
from chaos.spelling import unknown_name
from chaos.value import Value
from chaos.workload import Workload, too_large

Place = tuple[str | int, ...]
WorkloadCatalogue = Mapping[str, type[Workload]]


@dataclass(frozen=True)
class Catalogue:
    """What faults and workloads there are, by name; the engine knows none by itself."""

    faults: FaultCatalogue
    workloads: WorkloadCatalogue


class _Settings(Value):
    """One run: a cluster, a workload on it, a schedule of faults, limits on both, and bounds on what they may cost."""

    name: str = Field(default="run", pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    seed: int = Field(default=0, ge=0)
    cluster: ClusterSpec = ClusterSpec()
    bounds: Bounds = Bounds()
    blast_radius: BlastRadius = BlastRadius()
    abort: Abort = Abort()
    deadline_s: float = Field(default=180.0, gt=0.0)


class RunSpec(_Settings):
    """One run, fully resolved. `deadline_s` bounds the workload; past it the run fails with stack dumps."""

    workload: SerializeAsAny[Workload]
    schedule: Schedule = Schedule()

    def to_data(self) -> dict[str, JsonValue]:
        """The specification as plain data, with every default written out."""
        data: dict[str, JsonValue] = self.model_dump(mode="json", exclude={"workload", "schedule"})
        data["workload"] = {"name": type(self.workload).name, **self.workload.model_dump(mode="json")}
        data["schedule"] = {"injections": self.schedule.to_data()}
        return data

    def to_yaml(self) -> str:
        """The specification as YAML."""
        return yaml_text.dump(self.to_data())


def from_data(data: object, catalogue: Catalogue) -> RunSpec:
    """The specification plain data describes, checked for whether it can be meant.

    Raises:
        Misplaced: something in it cannot be meant; carries its place.
    """
    if not isinstance(data, Mapping):
        raise Misplaced((), f"a spec is a mapping with cluster, workload and schedule, not {type(data).__name__}")
    rest = {key: value for key, value in data.items() if key not in ("workload", "schedule")}
    unknown = next((str(key) for key in rest if key not in RunSpec.model_fields), None)
    if unknown is not None:
        raise Misplaced((unknown,), unknown_name("field", unknown, RunSpec.model_fields))
    workload = _workload(data.get("workload", {}), catalogue.workloads)
    try:
        given = data.get("schedule")
        schedule = Schedule.from_data([] if given is None else given, catalogue.faults)
    except Misplaced as error:
        raise Misplaced(("schedule", *error.place), error.message) from error
    try:
        spec = RunSpec(workload=workload, schedule=schedule, **rest)
    except ValidationError as error:
        raise _first(error, RunSpec, ()) from error
    _possible(spec)
    return spec


def _workload(data: object, catalogue: WorkloadCatalogue) -> Workload:
    if isinstance(data, str):
        data = {"name": data}
    if not isinstance(data, Mapping):
        raise Misplaced(("workload",), f"a workload is a name, or a mapping with `name`, not {type(data).__name__}")
    name = data.get("name", next(iter(catalogue)))
    if not isinstance(name, str) or name not in catalogue:
        raise Misplaced(("workload", "name"), unknown_name("workload", str(name), catalogue))
    kind = catalogue[name]
    try:
        return kind.model_validate({key: value for key, value in data.items() if key != "name"})
    except ValidationError as error:
        raise _first(error, kind, ("workload",)) from error


def refuse_impossible(spec: RunSpec, *, name: str) -> None:
    """Refuses what no cluster of this spec can survive or do.

    Raises:
        InvalidSpec: says what, and how to mend it.
    """
    try:
        _possible(spec)
    except Misplaced as error:
        raise InvalidSpec(f"{name}: at {_dotted(error.place)}: {error.message}") from error


def _possible(spec: RunSpec) -> None:
    types_allowed = {name: kind for name, kind in spec.cluster.node_types.items() if kind.max_workers > 0}
    for bundle in spec.workload.bundles():
        if not any(kind.holds(bundle) for kind in types_allowed.values()):
            shapes = "; ".join(f"{name}: {kind.resources}" for name, kind in types_allowed.items()) or "none"
            raise Misplaced(
                ("cluster", "node_types"),
                f"the workload asks for {bundle} at once, which no node type can hold ({shapes}); "
                "enlarge a node type or ask for less",
            )
    if spec.cluster.worker_limit == 0:
        raise Misplaced(("cluster", "max_workers"), "the cluster may have no workers at all, so the job cannot run")
    if why := too_large(spec.workload, spec.cluster):
        raise Misplaced(("workload",), why)
    for place, injection in enumerate(spec.schedule.injections):
        named = [
            injection.target.node_type if injection.target else None,
            injection.on.node_type if injection.on else None,
            getattr(injection.fault, "node_type", None),
        ]
        for node_type in named:
            if node_type is not None and node_type not in spec.cluster.node_types:
                raise Misplaced(
                    ("schedule", "injections", place), unknown_name("node type", node_type, spec.cluster.node_types)
                )
        cluster = spec.cluster
        if injection.fault.restarts_head and (cluster.gcs_storage == "memory" or cluster.driver_on == "head"):
            raise Misplaced(
                ("schedule", "injections", place),
                f"{injection.fault.name} ends what lives on the head: give cluster.gcs_storage: rocksdb (or redis, on"
                " compose), for what its GCS knows, and cluster.driver_on a node type with min_workers, for the driver",
            )
        selected = injection.target.select if injection.target else None
        if why := injection.fault.impossible(cluster, selected):
            raise Misplaced(("schedule", "injections", place), f"{injection.fault.name}: {why}")
        if injection.at_s is not None and injection.at_s >= spec.deadline_s:
            raise Misplaced(
                ("schedule", "injections", place, "at_s"),
                f"at_s {injection.at_s:g} is not before the deadline of {spec.deadline_s:g} s",
            )
        if refusal := spec.blast_radius.impossible(injection, worker_limit=spec.cluster.worker_limit):
            raise Misplaced(("schedule", "injections", place, "target"), refusal)


def missing_on(spec: RunSpec, kind: type) -> tuple[str, ...]:
    """Messages for the injections a kind of cluster has no capability for."""
    found = []
    for injection in spec.schedule.injections:
        missing = injection.fault.missing_capabilities(kind)
        if missing:
            found.append(
                f"injection {injection.id}: {injection.fault.name} needs {', '.join(missing)}, "
                f"which a {spec.cluster.kind} cluster does not have"
            )
    return tuple(found)


# -- reading --------------------------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """The text of a file the user named.

    Raises:
        InvalidSpec: it cannot be read as UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidSpec(f"{path}: {error.strerror}; give a readable YAML file") from error
    except UnicodeDecodeError as error:
        raise InvalidSpec(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error


def parse(
    text: str,
    catalogue: Catalogue,
    *,
    name: str = "spec",
    overrides: Sequence[str] = (),
) -> RunSpec:
    """The specification a YAML text describes, with `path=value` overrides applied.

    Raises:
        InvalidSpec: the message gives file, line and column.
    """
    data, places = read_yaml(text, name=name)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise InvalidSpec(f"{name}:1:1: a spec is a mapping with cluster, workload and schedule")
    if any(override.startswith("cluster.node_types.") for override in overrides):
        cluster = data.setdefault("cluster", {})
        if isinstance(cluster, dict):
            cluster.setdefault("node_types", ClusterSpec().model_dump(mode="json")["node_types"])
    overridden = [apply_override(data, override) for override in overrides]
    try:
        return from_data(data, catalogue)
    except Misplaced as error:
        place = _without_injections(error.place)
        for given in overridden:
            short = _without_injections(given)
            if place[: len(short)] == short or short[: len(place)] == place:
                raise InvalidSpec(f"--set {_dotted(given)}: at {_dotted(error.place)}: {error.message}") from error
        raise InvalidSpec(f"{where(error.place, places, name)}: {error.message}") from error


def read_yaml(text: str, *, name: str) -> tuple[Any, dict[Place, tuple[int, int]]]:
    """Plain data, and for each place in it the line and column (from 1).

    Raises:
        InvalidSpec: malformed YAML; the message gives line and column.
    """
    places: dict[Place, tuple[int, int]] = {}
    try:
        node = yaml.compose(text, Loader=yaml_text.Loader)
        if node is not None:
            _mark(node, (), places)
        return yaml_text.load(text), places
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise InvalidSpec(f"{name}:{at}: malformed YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position].split("\n")
        at = f"{len(before)}:{len(before[-1]) + 1}"
        raise InvalidSpec(f"{name}:{at}: malformed YAML: {error.reason}: {chr(error.character)!r}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidSpec(f"{name}:1:1: malformed YAML: {error}") from error
    except RecursionError as error:
        raise InvalidSpec(f"{name}:1:1: nested too deeply, or a part of it contains itself") from error


def apply_override(data: dict[str, Any], override: str) -> Place:
    """Sets one `path=value` (dots between keys, numbers for list places, the value in YAML); returns the place.

    Raises:
        InvalidSpec: no `=`, an empty path, or a path through something that is no mapping or list.
    """
    path, equals, value_text = override.partition("=")
    if not equals or not path:
        raise InvalidSpec(f"--set {override!r}: write path=value, for example cluster.max_workers=2")
    value, _ = read_yaml(value_text, name=f"--set {path}")
    keys: list[str | int] = [int(key) if key.isdecimal() else key for key in path.split(".")]
    here: Any = data
    for key, after in itertools.pairwise(keys):
        if isinstance(here, list) and isinstance(key, int) and key < len(here):
            here = here[key]
        elif isinstance(here, dict):
            if isinstance(here.get(str(key)), str) and str(key) == "workload":
                here["workload"] = {"name": here["workload"]}
            here = here.setdefault(str(key), [] if isinstance(after, int) else {})
        else:
            raise InvalidSpec(f"--set {override!r}: there is no {key!r} to go through in {path}")
    last = keys[-1]
    if isinstance(here, list) and isinstance(last, int) and last < len(here):
        here[last] = value
    elif isinstance(here, dict):
        here[str(last)] = value
    else:
        raise InvalidSpec(f"--set {override!r}: {path} does not name a field")
    return tuple(keys)


def json_schema(catalogue: Catalogue) -> dict[str, Any]:
    """JSON Schema of a specification, for editors."""
    from chaos.schedule import Frame

    definitions: dict[str, Any] = {}

    def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
        schema = TypeAdapter(kind).json_schema(ref_template="#/$defs/{model}")
        definitions.update(schema.pop("$defs", {}))
        return schema

    frame = schema_of(Frame)
    injections = []
    for name, fault in sorted(catalogue.faults.items()):
        own = schema_of(fault)
        injections.append(
            {
                "title": name,
                "description": fault.summary,
                "type": "object",
                "additionalProperties": False,
                "properties": {"fault": {"const": name}, **frame["properties"], **own.get("properties", {})},
                "required": ["fault", *own.get("required", [])],
            }
        )
    definitions["Target"] = {
        "anyOf": [
            {"type": "string", "description": "w1, w2, …, head, oldest, newest, random or all"},
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "select": {"type": "string"},
                    "count": {"type": "integer", "minimum": 1},
                    "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                    "node_type": {"type": "string"},
                },
            },
        ]
    }
    workloads = []
    for name, workload in sorted(catalogue.workloads.items()):
        own = schema_of(workload)
        workloads.append(
            {
                "title": name,
                "description": workload.summary,
                "type": "object",
                "additionalProperties": False,
                "properties": {"name": {"const": name}, **own.get("properties", {})},
                "required": ["name", *own.get("required", [])],
            }
        )
    schedule_list = {"type": "array", "items": {"oneOf": injections}}
    # What the catalogues do not decide; the workload and the schedule are put in by hand.
    top = schema_of(_Settings)
    top["properties"]["workload"] = {"oneOf": [{"enum": sorted(catalogue.workloads)}, *workloads]}
    top["properties"]["schedule"] = {
        "oneOf": [
            schedule_list,
            {"type": "object", "additionalProperties": False, "properties": {"injections": schedule_list}},
        ]
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "raychaos run specification",
        **{key: value for key, value in top.items() if key != "title"},
        "$defs": definitions,
    }


def _mark(node: yaml.Node, place: Place, places: dict[Place, tuple[int, int]]) -> None:
    places.setdefault(place, (node.start_mark.line + 1, node.start_mark.column + 1))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*place, str(key.value))
            places[below] = (key.start_mark.line + 1, key.start_mark.column + 1)
            _mark(value, below, places)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _mark(item, (*place, index), places)


def where(place: Place, places: Mapping[Place, tuple[int, int]], name: str) -> str:
    """`file:line:column` of a place in data read from YAML, or of what is nearest around it, and the place itself."""
    known = place
    if place[:2] == ("schedule", "injections") and ("schedule", "injections") not in places:
        known = ("schedule", *place[2:])
    while known and known not in places:
        known = known[:-1]
    at = f": at {_dotted(place)}" if place else ""
    if known or not place:
        line, column = places.get(known, (1, 1))
        return f"{name}:{line}:{column}{at}"
    return f"{name}{at}"


def _without_injections(place: Place) -> Place:
    """A schedule's place is the same whether it is written as a list or as a mapping of `injections`."""
    return (place[0], *place[2:]) if place[:2] == ("schedule", "injections") else place


def _dotted(place: Place) -> str:
    return ".".join(str(part) for part in place)


def _first(error: ValidationError, kind: type[BaseModel], root: Place) -> Misplaced:
    """The first unknown name, else the first complaint, with the allowed names where a name was not known."""
    found = error.errors()
    details = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    place: Place = tuple(part for part in details["loc"] if part != "[key]")
    message = details["msg"].removeprefix("Value error, ")
    given = details.get("input")
    if details["type"] == "extra_forbidden":
        model = _model_at(kind, place[:-1])
        message = unknown_name("field", str(place[-1]), model.model_fields if model else ())
    elif isinstance(given, (str, int, float, bool)) and details["type"] != "value_error":
        allowed = details.get("ctx", {}).get("expected")
        message = f"{message}, not {given!r}"
        if details["type"] == "literal_error" and isinstance(allowed, str):
            names = [part.strip(" '") for part in allowed.replace(" or ", ",").split(",")]
            message = unknown_name("value", str(given), [name for name in names if name])
    return Misplaced((*root, *place), message)


def _model_at(kind: type[BaseModel], place: Place) -> type[BaseModel] | None:
    here: Any = kind
    for part in place:
        model = _model_in(here)
        if model is not None and part in model.model_fields:
            here = model.model_fields[str(part)].annotation
        elif model is None:
            return None
    return _model_in(here)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part)) is not None), None)
