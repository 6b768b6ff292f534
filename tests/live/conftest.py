"""Live tests share one event loop and one lab of warm clusters."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest
import pytest_asyncio

from chaos.results import Results
from chaos.spec import Catalogue
from tests.live.lab import Lab

Work = Callable[[str], Coroutine[Any, Any, Results]]
Together = Callable[[str, Work], Awaitable[Results]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/live/" in item.nodeid:
            item.add_marker(pytest.mark.live)
            if inspect.iscoroutinefunction(getattr(item, "function", None)):
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lab(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """The session's warm clusters."""
    lab = Lab(tmp_path_factory.mktemp("runs"), catalogue)
    yield lab
    await lab.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _begun() -> AsyncIterator[dict[tuple[object, str], asyncio.Task[Results]]]:
    """What was begun for cases that had yet to come, by case and kind of cluster."""
    begun: dict[tuple[object, str], asyncio.Task[Results]] = {}
    yield begun
    for task in begun.values():
        task.cancel()
    await asyncio.gather(*begun.values(), return_exceptions=True)


def _case(item: pytest.Function) -> object:
    """A test with its parameters, but for the kind of cluster."""
    parameters = item.callspec.params.items() if hasattr(item, "callspec") else ()
    return item.originalname, tuple((name, value) for name, value in parameters if name != "kind")


@pytest.fixture
def together(request: pytest.FixtureRequest, _begun: dict[tuple[object, str], asyncio.Task[Results]]) -> Together:
    """Does what waits more than it works on all kinds of cluster at the same time; returns this kind's results."""
    case = _case(request.node)
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and _case(item) == case]
    kinds = [str(item.callspec.params["kind"]) for item in items if not item.get_closest_marker("skip")]

    async def work_together(kind: str, work: Work) -> Results:
        for one in kinds:
            if (case, one) not in _begun:
                _begun[case, one] = asyncio.create_task(work(one))
        return await asyncio.shield(_begun[case, kind])

    return work_together
