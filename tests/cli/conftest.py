"""The command line as a test types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.cli import main
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.commands import CLUSTERS
from tests.cli.said import Command, Said


@pytest.fixture
def raychaos(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in an empty directory and home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYCHAOS_HOME", str(tmp_path / "home"))

    def run(*arguments: str | Path) -> Said:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        assert "Traceback" not in said.err
        return Said(ended.value.code, said.out, said.err)

    return run


@pytest.fixture
def no_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that is started all the same is a failure."""

    async def never(self: CloudCluster) -> None:
        raise AssertionError("a cluster was started")

    for kind in CLUSTERS.values():
        monkeypatch.setattr(kind, "start", never)
