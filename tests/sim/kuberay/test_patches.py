"""JSON Patch: all of it or nothing, as RFC 6902 and the API server's library have it."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.sim.kuberay.patches import PatchFailed, patched

DOCUMENT: dict[str, Any] = {"spec": {"groups": [{"replicas": 1}, {"replicas": 2}], "a/b": 3}, "version": "7"}


@pytest.mark.parametrize(
    ("operation", "path", "comes_to"),
    [
        ({"op": "replace", "path": "/spec/groups/1/replicas", "value": 5}, ("spec", "groups", 1, "replicas"), 5),
        ({"op": "replace", "path": "/spec/groups/0/strategy", "value": [1]}, ("spec", "groups", 0, "strategy"), [1]),
        ({"op": "add", "path": "/spec/groups/-", "value": {}}, ("spec", "groups", 2), {}),
        ({"op": "add", "path": "/spec/groups/0", "value": {}}, ("spec", "groups", 0), {}),
        ({"op": "replace", "path": "/spec/a~1b", "value": 4}, ("spec", "a/b"), 4),
        ({"op": "test", "path": "/version", "value": "7"}, ("version",), "7"),
    ],
)
def test_an_operation_is_applied(operation: dict[str, Any], path: tuple[Any, ...], comes_to: object) -> None:
    here: Any = patched(DOCUMENT, [operation])
    for step in path:
        here = here[step]
    assert here == comes_to


def test_remove_leaves_the_rest() -> None:
    assert patched(DOCUMENT, [{"op": "remove", "path": "/spec/groups/0"}])["spec"]["groups"] == [{"replicas": 2}]


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        ({"op": "replace", "path": "/spec/groups/2/replicas", "value": 1}, "missing path: /spec/groups/2/replicas"),
        ({"op": "replace", "path": "/spec/groups/2", "value": 1}, "missing path"),
        ({"op": "replace", "path": "/nothing/here", "value": 1}, "missing path"),
        ({"op": "replace", "path": "/version/0", "value": 1}, "missing path"),
        ({"op": "remove", "path": "/spec/none"}, "missing path"),
        ({"op": "test", "path": "/version", "value": "8"}, "testing value /version failed"),
        ({"op": "move", "path": "/version", "from": "/spec"}, "unexpected kind: move"),
    ],
)
def test_of_a_patch_that_fails_nothing_is_applied(operation: dict[str, Any], says: str) -> None:
    first = {"op": "replace", "path": "/spec/groups/0/replicas", "value": 9}
    with pytest.raises(PatchFailed, match=says):
        patched(DOCUMENT, [first, operation])
    assert DOCUMENT["spec"]["groups"][0] == {"replicas": 1}
