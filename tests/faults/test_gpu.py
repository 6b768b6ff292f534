"""GPU faults: proven by what became of the batches on the victims."""

from __future__ import annotations

import pytest

from chaos.events import BatchCompleted, BatchFailed, BatchInvoked, Event, HostSampled, WorkloadStarted
from faults.gpu import GpuEccError, GpuHang, GpuLost, GpuOutOfMemory, GpuSlow
from tests.doubles import FakeCluster, site_of

ECC = "CUDA error: uncorrectable ECC error encountered (raychaos stands in for the device)"
USUAL: list[tuple[float, Event]] = [
    (0.0, WorkloadStarted(workload="task_bursts", rows_total=64)),
    (3.0, BatchCompleted(op="a", node="w1", rows="0-31", started_s=2.0, ended_s=3.0)),
    (5.0, BatchCompleted(op="b", node="w2", rows="32-63", started_s=4.0, ended_s=5.0)),
]


def failed(node: str, at_s: float, error: str) -> tuple[float, Event]:
    return at_s, BatchFailed(op=f"{node}-{at_s}", node=node, rows="0-31", started_s=at_s - 0.1, error=error)


def until(t_s: float) -> tuple[float, Event]:
    return t_s, HostSampled(cpu_busy=0.5, memory_free_mb=1000.0, disk_free_mb=1000.0)


async def test_each_victim_is_told_under_an_id_and_lease_of_its_own() -> None:
    cluster = FakeCluster()
    await GpuSlow(factor=2.5).inject(site_of(cluster, "w1", "w2"))
    assert cluster.named("fault_devices") == [
        ("w1", "slow", "2.5", "run.i1.w1", "20"), ("w2", "slow", "2.5", "run.i1.w2", "20"),
    ]  # fmt: skip


async def test_a_failing_gpu_shows_when_a_batch_failed_so_on_every_victim() -> None:
    events = [failed("w1", 9.0, ECC), failed("w3", 11.0, ECC), failed("w2", 12.0, "CUDA out of memory")]
    partly = await GpuEccError().probe(site_of(FakeCluster(), "w1", "w2", events=events))
    assert (partly.outcome, partly.detail) == ("unknown", "no batch has failed so on w1, w2")
    events = [failed("w1", 11.0, ECC), failed("w2", 12.0, ECC)]
    seen = await GpuEccError().probe(site_of(FakeCluster(), "w1", "w2", events=events))
    assert (seen.outcome, seen.measured) == ("took_effect", 2.0)
    assert seen.detail.startswith("2 batches failed (a stand-in): CUDA error: uncorrectable ECC")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (GpuOutOfMemory(), "CUDA out of memory. Tried to allocate 1024.00 TiB."),
        (GpuLost(), "CUDA error: unknown error"),
    ],
)
async def test_what_torch_itself_said_is_real(fault: GpuOutOfMemory | GpuLost, error: str) -> None:
    seen = await fault.probe(site_of(FakeCluster(), "w1", events=[failed("w1", 11.0, error)]))
    assert seen.outcome == "took_effect"
    assert "(real)" in seen.detail


async def test_a_hang_shows_when_a_batch_outlasts_the_usual_ones() -> None:
    hanging = (10.5, BatchInvoked(op="c", node="w1", rows="64-95", started_s=10.5))
    early = await GpuHang().probe(site_of(FakeCluster(), "w1", events=[*USUAL, hanging, until(13.0)]))
    assert (early.outcome, early.asked) == ("unknown", 3.0)
    seen = await GpuHang().probe(site_of(FakeCluster(), "w1", events=[*USUAL, hanging, until(14.0)]))
    assert (seen.outcome, seen.measured) == ("took_effect", 3.5)
    over = (13.9, BatchCompleted(op="c", node="w1", rows="64-95", started_s=10.5, ended_s=13.9))
    ended = await GpuHang().probe(site_of(FakeCluster(), "w1", events=[*USUAL, hanging, over, until(14.0)]))
    assert ended.outcome == "unknown"


async def test_slowness_is_measured_against_the_batches_before() -> None:
    slow = (14.0, BatchCompleted(op="c", node="w1", rows="64-95", started_s=11.0, ended_s=14.0))
    site = site_of(FakeCluster(), "w1", events=[*USUAL, slow])
    seen = await GpuSlow(factor=3.0).probe(site)
    assert (seen.outcome, seen.asked, seen.measured) == ("took_effect", 3.0, 3.0)
    assert (await GpuSlow(factor=10.0).probe(site)).outcome == "no_effect"


async def test_without_batches_to_look_at_nothing_is_proven() -> None:
    for fault in (GpuSlow(factor=2.0), GpuHang(), GpuLost()):
        assert (await fault.probe(site_of(FakeCluster(), "w1", events=USUAL))).outcome == "unknown"
        assert (await fault.probe(site_of(FakeCluster(), "w1"))).outcome == "unknown"
