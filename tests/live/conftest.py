"""Live tests share one event loop and one lab of warm clusters."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from chaos.spec import Catalogue
from tests.live.lab import Lab


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
