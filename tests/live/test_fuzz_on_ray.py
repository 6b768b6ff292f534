"""A campaign spread over a Ray cluster finds what it would have found here, though a node dies meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import faults
import workloads
from chaos.clusters.local import LocalCluster
from chaos.fuzz.campaign import Limits, hunt
from chaos.fuzz.corpus import Corpus
from chaos.fuzz.log import Log
from chaos.fuzz.outcome import Outcome
from chaos.fuzz.trial import Wish
from chaos.spec import Catalogue
from chaos.store import RunDirectory
from tests.live.lab import Lab
from tests.live.rulers import BURST, PAIR

KNOWN = Catalogue(faults=faults.ALL, workloads=workloads.ALL)
WISH = Wish(seed=2, faults=("change_node_types", "kill_node"), workloads=("task_bursts",), max_injections=2)
RUNS = 32
LIMIT_S = 200


def campaign(store: Path, on: str | None, told: Callable[[], None] = lambda: None) -> dict[int, Outcome]:
    """Its outcomes by their numbers."""
    found: dict[int, Outcome] = {}

    def show(_: object, outcome: Outcome | None) -> None:
        if outcome is not None:
            assert outcome.number not in found
            found[outcome.number] = outcome
            told()

    limits = Limits(max_runs=RUNS, workers=2, on=on)
    corpus = Corpus(store / "corpus", raychaos="any")
    state = hunt(WISH, limits, KNOWN, log=Log(store, WISH, ray="any"), corpus=corpus, ray="any", show=show)
    assert not state.gave_up
    return found


async def test_a_campaign_on_a_cluster_finds_what_it_finds_here_though_a_node_dies(lab: Lab, tmp_path: Path) -> None:
    cluster = await lab.cluster(lab.spec(f"cluster: {{{PAIR}}}\nworkload: {BURST}\n", "local"))
    assert isinstance(cluster, LocalCluster)
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell() -> None:
        loop.call_soon_threadsafe(begun.set)

    there = asyncio.create_task(asyncio.to_thread(campaign, tmp_path / "there", cluster.gcs_address(), tell))
    await asyncio.wait_for(begun.wait(), LIMIT_S)
    victims = [node.node for node in await cluster.nodes() if node.node != "head"]
    await cluster.kill_node(victims[0])
    found = await asyncio.wait_for(there, LIMIT_S)
    assert any(outcome.kept for outcome in found.values())
    assert all(RunDirectory(Path(outcome.kept)).history.exists() for outcome in found.values() if outcome.kept)
    here = await asyncio.to_thread(campaign, tmp_path / "here", None)
    assert {number: (outcome.judgement, outcome.signature) for number, outcome in found.items()} == {
        number: (outcome.judgement, outcome.signature) for number, outcome in here.items()
    }
