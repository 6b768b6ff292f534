"""`fill_object_store`: proven by what the GCS says of the store, healed when no program of ours holds objects."""

from __future__ import annotations

from chaos.events import ClusterSampled, Event, NodeView
from chaos.fault import Effect
from chaos.harm import StoreFill
from faults.fill_object_store import FillObjectStore
from tests.doubles import FakeCluster, injected, site_of

FAULT = FillObjectStore(percent=80.0)


def sample(**used: float) -> Event:
    views = [
        NodeView(node=node, node_type="gpu", status="running", total={}, available={}, store_used=share)
        for node, share in used.items()
    ]
    return ClusterSampled(reachable=True, nodes=tuple(views))


async def probed(*events: tuple[float, Event]) -> Effect:
    cluster = FakeCluster()
    before = [event for event in events if event[0] < 10.0]
    site = await injected(FAULT, site_of(cluster, "w1", "w2", events=before))
    seen = site_of(cluster, "w1", "w2", events=list(events))
    return await FAULT.probe(type(seen)(**{**vars(seen), "before": site.before}))


async def test_each_victim_is_filled_under_an_id_and_lease_of_its_own() -> None:
    cluster = FakeCluster()
    await FAULT.inject(site_of(cluster, "w1", "w2"))
    assert cluster.named("fill_store") == [("w1", "run.i1.w1", "20"), ("w2", "run.i1.w2", "20")]
    assert cluster.taken["run.i1.w1"] == StoreFill(percent=80.0)


async def test_the_last_sample_since_decides() -> None:
    seen = await probed((5.0, sample(w1=0.1, w2=0.0)), (11.0, sample(w1=0.3, w2=0.3)), (14.0, sample(w1=0.9, w2=0.8)))
    assert (seen.outcome, seen.asked, seen.measured, seen.unit) == ("took_effect", 80.0, 80.0, "%")
    seen = await probed((14.0, sample(w1=0.9, w2=0.6)))
    assert (seen.outcome, seen.measured) == ("unknown", 60.0)


async def test_a_store_the_gcs_does_not_tell_of_is_unknown() -> None:
    seen = await probed((5.0, sample(w1=0.9, w2=0.9)), (11.0, sample(w1=0.9)))
    assert (seen.outcome, seen.detail) == ("unknown", "the GCS has not told of w2 yet")


async def test_a_store_that_was_as_full_before_shows_nothing() -> None:
    assert (await probed((5.0, sample(w1=0.1, w2=0.9)), (14.0, sample(w1=0.95, w2=0.9)))).outcome == "no_effect"


async def test_healing_is_proven_by_programs_that_are_gone() -> None:
    cluster = FakeCluster()
    site = await injected(FAULT, site_of(cluster, "w1"))
    assert (await FAULT.probe_healed(site)).outcome == "took_effect"
    await FAULT.heal(site)
    assert (await FAULT.probe_healed(site)).outcome == "no_effect"


async def test_a_program_that_goes_on_is_no_healing() -> None:
    class Stuck(FakeCluster):
        async def active_effects(self) -> tuple[str, ...]:
            return ()

    seen = await FAULT.probe_healed(await injected(FAULT, site_of(Stuck(), "w1")))
    assert (seen.outcome, seen.detail) == ("took_effect", "objects are still held on w1")
