"""JSON Patch (RFC 6902) as the Kubernetes API applies it to a custom resource."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

Json = Any
"""What JSON can hold."""


class PatchFailed(Exception):
    """Nothing of the patch was applied, and why."""


def patched(document: Mapping[str, Json], operations: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """The document with all operations applied in order; the one given is left as it is.

    As in the library the API server uses, `replace` may name a field that is not there yet.

    Raises:
        PatchFailed: an operation cannot be applied, or a `test` does not hold.
    """
    result = copy.deepcopy(dict(document))
    for operation in operations:
        _apply(result, operation)
    return result


def _apply(document: dict[str, Json], operation: Mapping[str, Json]) -> None:
    kind, path = operation["op"], operation["path"]
    where, last = _reached(document, path)
    if kind == "test":
        if _value(where, last, path) != operation["value"]:
            raise PatchFailed(f"testing value {path} failed")
    elif kind == "remove":
        _value(where, last, path)
        del where[last]
    elif kind == "add" and isinstance(where, list):
        where.insert(len(where) if last == "-" else last, copy.deepcopy(operation["value"]))
    elif kind in ("add", "replace"):
        if isinstance(where, list):
            _value(where, last, path)
        where[last] = copy.deepcopy(operation["value"])
    else:
        raise PatchFailed(f"unexpected kind: {kind}")


def _reached(document: Json, path: str) -> tuple[Any, Any]:
    """What holds the last part of a path, and that part as its key."""
    here = document
    *steps, last = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    for step in steps:
        here = _value(here, _key(here, step, path), path)
    return here, _key(here, last, path)


def _key(here: Json, step: str, path: str) -> str | int:
    if isinstance(here, dict) or (isinstance(here, list) and step == "-"):
        return step
    if isinstance(here, list) and step.isdigit():
        return int(step)
    raise PatchFailed(f"doc is missing path: {path}")


def _value(here: Json, key: str | int, path: str) -> Json:
    try:
        return here[key]
    except (KeyError, IndexError, TypeError):
        raise PatchFailed(f"doc is missing path: {path}") from None
