"""Commands on clusters: listing, ending and healing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chaos import commands
from chaos.cluster_spec import ClusterSpec
from chaos.clusters import compose_leftovers
from chaos.clusters.cloud_cluster import CloudCluster
from chaos.commands import CLUSTERS
from chaos.errors import ClusterError, InjectionError
from chaos.home import home
from tests.cli.said import Command


def test_without_clusters_there_is_nothing_to_list_end_or_heal(
    raychaos: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "orphans", lambda: ())  # other tests' processes are none of ours
    assert raychaos("ps").out == "no clusters; `raychaos up` starts one\n"
    assert json.loads(raychaos("ps", "--json").out) == []
    said = raychaos("down")
    assert (said.code, said.err) == (2, "raychaos: error: which cluster? there are: none; or give --all\n")
    assert raychaos("down", "nothing").code == 2
    assert raychaos("down", "--all").code == 0
    assert raychaos("heal").out == "nothing was left behind\n"


def dead_cluster(name: str, **changes: object) -> Path:
    """The directory of a cluster whose processes are gone."""
    root = home() / "clusters" / name
    root.mkdir(parents=True)
    config = {"cluster": name, "mark": f"{name}#test-0", "driver": "process", "spec": ClusterSpec().model_dump()}
    (root / "cluster.json").write_text(json.dumps(config | changes))
    return root


def test_a_dead_cluster_is_listed_as_such_and_healed_away(raychaos: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "orphans", lambda: ())
    root = dead_cluster("old")
    monkeypatch.setattr(CloudCluster, "attach", _fails)
    listed = raychaos("ps").out
    assert listed.startswith("old  local  dead  ")
    said = raychaos("heal")
    assert (said.code, said.out) == (0, "old: dead; removed what was left of it\n")
    assert not root.exists()


def test_a_cluster_whose_cloud_runs_and_does_not_answer_is_not_called_dead(
    raychaos: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_cluster("stuck")
    monkeypatch.setattr(CloudCluster, "attach", _fails)
    monkeypatch.setattr(commands.CLUSTERS["local"], "_cloud_alive", lambda _: True)
    assert raychaos("ps").out == "stuck  local  silent  cluster 'stuck' does not answer\n"


class HalfHealed:
    """A warm cluster that lets go of some effects only, and may still show harm."""

    def __init__(self, effects: set[str], stuck: set[str], shows: tuple[str, ...] = ()) -> None:
        self.effects = effects
        self.stuck = stuck
        self.shows = shows

    def answers(self) -> bool:
        return True

    async def attach(self) -> None:
        """It is there."""

    async def release(self) -> None:
        """It stays."""

    async def active_effects(self) -> tuple[str, ...]:
        return tuple(sorted(self.effects))

    async def leftovers(self) -> tuple[str, ...]:
        return self.shows

    async def undo_all(self) -> tuple[str, ...]:
        self.effects &= self.stuck
        if self.stuck:
            raise InjectionError("effects could not be undone: e2: no answer")
        return ()


@pytest.mark.parametrize(
    ("cluster", "out", "err"),
    [
        (HalfHealed({"e1", "e3"}, set()), "warm: undid e1\nwarm: undid e3\n", []),
        (
            HalfHealed({"e1", "e2"}, {"e2"}, ("effect in force: e2",)),
            "warm: undid e1\n",
            [
                "warm: effects could not be undone: e2: no answer",
                "warm: still shows effect in force: e2; `raychaos down warm` ends it",
            ],
        ),
        (HalfHealed({"e2"}, {"e2"}), "", ["warm: effects could not be undone: e2: no answer"]),
        (HalfHealed(set(), set()), "nothing was left behind\n", []),
    ],
)
def test_healing_tells_what_was_undone_and_what_was_not(
    raychaos: Command, monkeypatch: pytest.MonkeyPatch, cluster: HalfHealed, out: str, err: list[str]
) -> None:
    monkeypatch.setattr(commands, "orphans", lambda: ())
    monkeypatch.setattr(compose_leftovers, "orphans", lambda: ())
    dead_cluster("warm")
    monkeypatch.setattr(commands, "_existing", lambda _: cluster)
    said = raychaos("heal")
    assert (said.code, said.out) == (4 if err else 0, out)
    assert said.err.splitlines() == [f"raychaos: error: {line}" for line in err]


async def _fails(self: CloudCluster) -> None:
    raise ClusterError(f"cluster {self.name!r} does not answer")


@pytest.mark.parametrize("changes", [{"colour": "red"}, {"driver": "balloon"}, {"mark": 7}])
def test_a_cluster_of_another_version_does_not_stop_the_others_and_is_healed_away(
    raychaos: Command, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    monkeypatch.setattr(commands, "orphans", lambda: ())
    root = dead_cluster("future", **changes)
    said = raychaos("ps")
    assert said.code == 0
    assert said.out.startswith("future  unknown  unreadable  ")
    assert "not a cluster of this version" in said.out
    assert commands.leftovers() == ["unreadable cluster 'future'"]
    said = raychaos("heal")
    assert (said.code, said.out) == (0, "future: dead and unreadable; ended 0 processes and removed its directory\n")
    assert not root.exists()
    assert raychaos("heal").out == "nothing was left behind\n"


@pytest.mark.parametrize("announced", [True, False])
def test_a_cluster_of_containers_whose_engine_is_silent_may_be_alive_and_is_left_alone(
    raychaos: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    monkeypatch.setattr(commands, "orphans", lambda: ())
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    root = dead_cluster("boxes", driver="docker", spec=ClusterSpec(kind="compose").model_dump())
    if announced:
        (root / "cloud").mkdir()
        (root / "cloud" / "address.json").write_text(json.dumps({"port": 8400, "pid": 1, "start_ticks": 1}))
        assert commands.leftovers() == [], "nothing is known of it"
    listed = raychaos("ps").out
    assert listed.startswith("boxes  compose  unknown  no Docker engine answers at unix://")
    said = raychaos("heal")
    assert said.code == 0
    assert said.out.startswith("boxes: left alone: no Docker engine answers at unix://")
    assert (root / "cluster.json").exists()
    down = raychaos("down", "boxes")
    assert down.code == 4
    assert "no Docker engine answers" in down.err
    assert (root / "cluster.json").exists()


def test_an_unreadable_cluster_that_may_have_containers_is_left_alone(
    raychaos: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "orphans", lambda: ())
    root = dead_cluster("future", driver="docker", colour="red")
    assert "left alone, for it may have containers" in raychaos("heal").out
    assert root.exists()


def test_a_name_that_is_taken_is_4(raychaos: Command) -> None:
    root = dead_cluster("main")
    said = raychaos("up", "--name", "main", "--cluster", "local")
    assert said.code == 4
    assert "there is a cluster named 'main' already" in said.err
    assert root.exists()


def test_a_run_under_the_name_of_another_cluster_is_2(raychaos: Command, tmp_path: Path) -> None:
    dead_cluster("main", spec=ClusterSpec(max_workers=1).model_dump())
    said = raychaos("run", "--name", "main")
    assert said.code == 2
    assert "is up with another specification" in said.err
    assert runs(tmp_path) == []


def test_a_run_whose_cluster_cannot_be_started_leaves_no_run_directory(
    raychaos: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[str]] = []

    async def fails(self: CloudCluster) -> None:
        made.append([path.name for run in runs(tmp_path) for path in run.glob("*.yaml")])
        raise ClusterError("no room")

    monkeypatch.setattr(CLUSTERS["local"], "start", fails)
    said = raychaos("run")
    assert (said.code, said.err.splitlines()[-1]) == (4, "raychaos: error: no room")
    assert [sorted(names) for names in made] == [["schedule.yaml", "spec.yaml"]], "there before anything began"
    assert runs(tmp_path) == []


def runs(directory: Path) -> list[Path]:
    """The run directories below it."""
    return list(directory.glob("runs/*"))
