"""What all tests share: a home of their own, and a clear word on why compose tests do not run where they cannot."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.spec import Catalogue

pytest_plugins = ("pytester",)

ROOT = Path(__file__).parent.parent
ENGINE_LIMIT_S = 20


def _no_engine() -> str:
    """Why compose tests cannot run here; empty where they can."""
    if shutil.which("docker") is None:
        return "no docker client on the PATH"
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=ENGINE_LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            return f"`{' '.join(command)}` does not answer"
        if done.returncode:
            return f"`{' '.join(command)}`: {(done.stderr or done.stdout).strip().splitlines()[-1:]}"
    return ""


def pytest_configure() -> None:
    # A shell that starts the tests in its background has them ignore Ctrl-C, which some of them send to themselves.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Quick answers first; then what keeps the event loop waiting, and last what shares the lab's warm clusters: their
    # owner renews its lease in that loop, and one that cannot loses them.
    items.sort(key=lambda item: ("tests/live/" in item.nodeid, "lab" in getattr(item, "fixturenames", ())))
    wanting = [item for item in items if item.get_closest_marker("compose")]
    if not wanting:
        return
    reason = _no_engine()
    if not reason:
        return
    if os.environ.get("RAYCHAOS_REQUIRE_DOCKER"):
        raise pytest.UsageError(f"RAYCHAOS_REQUIRE_DOCKER is set, but {reason}")
    for item in wanting:
        item.add_marker(pytest.mark.skip(reason=f"needs a Docker engine with Compose: {reason}"))


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Clusters and baselines of the tests stay apart from the user's; what takes minutes to fetch is shared."""
    from chaos.home import home

    own = tmp_path_factory.mktemp("home")
    for name in ("wheelhouse", "releases"):
        (home() / name).mkdir(parents=True, exist_ok=True)
        (own / name).symlink_to(home() / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYCHAOS_HOME", str(own))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        yield


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The real faults and workloads, and the planted ones."""
    import faults
    import workloads
    from tests import planted_workloads

    return Catalogue(faults=faults.ALL, workloads={**workloads.ALL, **planted_workloads.ALL})
