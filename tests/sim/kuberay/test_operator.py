"""The operator: pods as the RayCluster says, and what keeps it from that."""

from __future__ import annotations

import asyncio

import pytest
from ray.autoscaler._private.kuberay import autoscaling_config

from chaos.cloud.answers import ApiError
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InvalidSpec
from chaos.events import NodeLaunchFailed, NodeLaunching, NodeTerminated, NodeTerminating
from chaos.harm import (
    CapacityLimit,
    ConfigChange,
    EndedOperator,
    LateRay,
    LaunchFault,
    Omission,
    PartialLaunch,
    TerminationFault,
)
from chaos.sim.kuberay.operator import WATCH_S, Unhealthy
from chaos.sim.kuberay.resource import ray_cluster
from chaos.sim.latency import Latencies, LogNormal
from tests.sim.kuberay.scene import SPEC, Scene, play

SOON_S = 5 * WATCH_S
ROOM = "InsufficientInstanceCapacity: none"
QUOTA = "VcpuLimitExceeded: none"


async def up(scene: Scene, replicas: int) -> None:
    """So many GPU pods run."""
    await scene.want(0, replicas)
    await asyncio.sleep(SOON_S)
    assert list((await scene.listed()).values()) == ["Running"] * replicas


def test_replicas_become_pods_and_those_that_are_named_are_deleted() -> None:
    async def act(scene: Scene) -> None:
        await up(scene, 3)
        await scene.want(0, 2, "i-00002")
        await asyncio.sleep(SOON_S)
        assert list(await scene.listed()) == ["i-00001", "i-00003"]
        assert [event.node for event in scene.told(NodeLaunching)] == ["w1", "w2", "w3"]
        assert [event.node for event in scene.told(NodeTerminating)] == ["w2"]

    play(act)


def test_a_pod_that_is_named_and_still_wanted_is_deleted_and_created_anew() -> None:
    async def act(scene: Scene) -> None:
        await up(scene, 1)
        await scene.want(0, 1, "i-00001")
        await asyncio.sleep(SOON_S)
        assert list(await scene.listed()) == ["i-00002"]

    play(act)


def test_replicas_are_kept_within_the_groups_limits_and_none_is_deleted_by_chance() -> None:
    async def act(scene: Scene) -> None:
        await up(scene, 3)
        await scene.harm(ConfigChange(node_type="gpu", max_workers=1))
        await scene.harm(ConfigChange(node_type="cpu", min_workers=2))
        await asyncio.sleep(SOON_S)
        groups = scene.pods.resource["spec"]["workerGroupSpecs"]
        assert [(group["replicas"], group["minReplicas"], group["maxReplicas"]) for group in groups] == [
            (3, 0, 1),
            (0, 2, 4),
        ]
        assert len(scene.pods.there("gpu")) == 3
        assert len(scene.pods.there("cpu")) == 2

    play(act)


def test_of_a_group_with_several_hosts_each_replica_is_as_many_pods() -> None:
    kind = SPEC.node_types["gpu"].model_copy(update={"hosts": 2})
    spec = SPEC.model_copy(update={"node_types": {"gpu": kind}})

    async def act(scene: Scene) -> None:
        [group] = scene.pods.resource["spec"]["workerGroupSpecs"]
        assert (group["numOfHosts"], group["maxReplicas"]) == (2, 2)
        await scene.want(0, 2)
        await asyncio.sleep(SOON_S)
        assert len(await scene.listed()) == 4
        # One host of a replica: what is left is more than is wanted, and stays.
        await scene.want(0, 1, "i-00001")
        await asyncio.sleep(SOON_S)
        assert list(await scene.listed()) == ["i-00002", "i-00003", "i-00004"]

    play(act, spec=spec)


def test_a_pod_that_failed_is_deleted_in_one_turn_and_replaced_in_another() -> None:
    async def act(scene: Scene) -> None:
        await scene.want(0, 1)
        await scene.operator.reconcile()
        await asyncio.sleep(SOON_S)
        await scene.cloud.kill("w1")
        await asyncio.sleep(SOON_S)
        assert await scene.listed() == {"i-00001": "Failed"}
        with pytest.raises(Unhealthy, match="delete 1 unhealthy worker Pods"):
            await scene.operator.reconcile()
        assert await scene.listed() == {}
        await scene.operator.reconcile()
        assert await scene.listed() == {"i-00002": "Pending"}
        assert [event.cause for event in scene.told(NodeTerminated)] == ["killed"]

    play(act, operating=False)


def test_a_pod_in_which_ray_never_started_fails_in_the_end_and_was_not_deleted() -> None:
    async def act(scene: Scene) -> None:
        effect_id = await scene.harm(LateRay(delay_s=None))
        await scene.want(0, 1)
        await scene.operator.reconcile()
        await asyncio.sleep(SOON_S)
        assert await scene.listed() == {"i-00001": "Running"}
        await scene.cloud.undo(effect_id)
        assert scene.pods.there()[0].state == "stopping"
        assert await scene.listed() == {"i-00001": "Running"}
        await asyncio.sleep(2.0 + SOON_S)
        assert await scene.listed() == {"i-00001": "Failed"}

    play(act, operating=False, latencies=Latencies(stop=LogNormal(median_s=2.0)))


def test_a_pod_that_ends_while_it_is_deleted_is_terminating_and_then_gone() -> None:
    async def act(scene: Scene) -> None:
        effect_id = await scene.harm(LateRay(delay_s=None))
        await scene.want(0, 1)
        await scene.operator.reconcile()
        await asyncio.sleep(SOON_S)
        await scene.cloud.undo(effect_id)
        await scene.want(0, 0, "i-00001")
        await scene.operator.reconcile()
        assert await scene.listed() == {"i-00001": "Terminating"}
        await asyncio.sleep(2.0 + SOON_S)
        assert await scene.listed() == {}

    play(act, operating=False, latencies=Latencies(stop=LogNormal(median_s=2.0)))


def test_a_group_waits_until_what_was_deleted_is_gone_and_others_do_not() -> None:
    async def act(scene: Scene) -> None:
        await up(scene, 1)
        await scene.harm(TerminationFault(delay_s=20.0))
        await scene.want(0, 0, "i-00001")
        await asyncio.sleep(SOON_S)
        assert await scene.listed() == {"i-00001": "Terminating"}
        await scene.want(0, 2)
        await scene.want(1, 1)
        await asyncio.sleep(SOON_S)
        assert await scene.listed() == {"i-00001": "Terminating", "i-00002": "Running"}
        await asyncio.sleep(20.0)
        assert [pod.node_type for pod in scene.pods.there()] == ["cpu", "gpu", "gpu"]

    play(act)


def test_without_an_operator_nothing_happens_and_the_next_one_catches_up() -> None:
    async def act(scene: Scene) -> None:
        effect_id = await scene.harm(EndedOperator())
        await scene.want(0, 2)
        await asyncio.sleep(60.0)
        assert not scene.operator.is_up
        assert await scene.listed() == {}
        await scene.cloud.undo(effect_id)
        await asyncio.sleep(SOON_S)
        assert len(await scene.listed()) == 2

    play(act)


def test_beyond_its_quota_no_pod_is_created_and_groups_after_it_wait() -> None:
    async def act(scene: Scene) -> None:
        await scene.harm(LaunchFault(node_type="gpu", error=QUOTA))
        await scene.want(0, 1)
        await scene.want(1, 1)
        with pytest.raises(ApiError, match="exceeded quota"):
            await scene.operator.reconcile()
        assert await scene.listed() == {}
        [failed] = scene.told(NodeLaunchFailed)
        assert (failed.node_type, failed.count, failed.reason, failed.node) == ("gpu", 1, QUOTA, None)

    play(act, operating=False)


def test_a_pod_that_is_refused_again_and_again_is_refused_once_for_all_that_is_told() -> None:
    async def act(scene: Scene) -> None:
        effect_id = await scene.harm(LaunchFault(node_type="gpu", error=QUOTA, count=2))
        await scene.want(0, 3)
        await asyncio.sleep(100.0)
        assert len(await scene.listed()) == 1
        assert [failed.count for failed in scene.told(NodeLaunchFailed)] == [2]
        await scene.want(0, 4)  # another one, which there is a quota for
        await asyncio.sleep(SOON_S)
        assert len(await scene.listed()) == 2
        await scene.cloud.undo(effect_id)
        await scene.want(1, 1)
        await asyncio.sleep(SOON_S)
        assert len(await scene.listed()) == 5
        assert [failed.count for failed in scene.told(NodeLaunchFailed)] == [2]

    play(act)


def test_a_pod_that_was_not_wanted_meanwhile_is_another_that_is_refused() -> None:
    async def act(scene: Scene) -> None:
        await scene.harm(LaunchFault(node_type="gpu", error=QUOTA))
        for replicas in (2, 1, 2, 0, 1):
            await scene.want(0, replicas)
            await asyncio.sleep(SOON_S)
        assert [failed.count for failed in scene.told(NodeLaunchFailed)] == [2, 1, 1]

    play(act)


def test_an_operator_that_fails_tries_again_ever_later_and_at_once_when_something_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(scene: Scene) -> None:
        tries = 0
        reconcile = scene.operator.reconcile

        async def counted() -> None:
            nonlocal tries
            tries += 1
            await reconcile()

        monkeypatch.setattr(scene.operator, "reconcile", counted)
        effect_id = await scene.harm(LaunchFault(node_type="gpu", error=QUOTA))
        await scene.want(0, 1)
        await asyncio.sleep(100.0)
        assert 10 <= tries <= 20
        await scene.cloud.undo(effect_id)  # by itself nothing the operator watches
        await scene.want(1, 1)
        await asyncio.sleep(SOON_S)
        assert len(await scene.listed()) == 2

    play(act)


def test_pods_without_room_are_pending_as_the_scheduler_words_it_until_there_is_some() -> None:
    async def act(scene: Scene) -> None:
        effect_id = await scene.harm(LaunchFault(error=ROOM, count=1))
        await scene.want(0, 2)
        await asyncio.sleep(SOON_S)
        assert sorted((await scene.listed()).values()) == ["Pending", "Running"]
        pods = (await scene.api.get("pods?"))["items"]
        [why] = [pod["status"]["conditions"][0] for pod in pods if pod["status"]["phase"] == "Pending"]
        assert (why["type"], why["status"], why["reason"]) == ("PodScheduled", "False", "Unschedulable")
        assert why["message"] == "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
        await scene.cloud.undo(effect_id)
        await asyncio.sleep(SOON_S)
        assert list((await scene.listed()).values()) == ["Running", "Running"]

    play(act)


def test_there_is_room_for_so_many_of_a_type_and_for_the_next_when_one_goes() -> None:
    async def act(scene: Scene) -> None:
        await scene.harm(CapacityLimit(at_most=1, error=ROOM))
        await scene.want(0, 2)
        await scene.want(1, 1)
        await asyncio.sleep(SOON_S)
        assert sorted((await scene.listed()).values()) == ["Pending", "Running", "Running"]
        assert [event.reason for event in scene.told(NodeLaunchFailed)] == [ROOM]
        await scene.want(0, 1, "i-00001")
        await asyncio.sleep(SOON_S)
        assert list((await scene.listed()).values()) == ["Running", "Running"]

    play(act)


def test_what_is_created_at_once_may_have_room_in_part() -> None:
    async def act(scene: Scene) -> None:
        await scene.harm(PartialLaunch(share=0.5, error=ROOM))
        await scene.want(0, 3)
        await asyncio.sleep(SOON_S)
        assert sorted((await scene.listed()).values()) == ["Pending", "Running", "Running"]
        [failed] = scene.told(NodeLaunchFailed)
        assert failed.count == 1
        assert {event.request for event in scene.told(NodeLaunching)} == {failed.request}

    play(act)


def test_a_pod_whose_object_is_lost_is_replaced_while_its_container_runs() -> None:
    async def act(scene: Scene) -> None:
        await up(scene, 1)
        await scene.harm(Omission(lost=True), node="w1")
        await asyncio.sleep(SOON_S)
        assert await scene.listed() == {"i-00002": "Running"}
        assert [item.node for item in scene.cloud.instances()] == ["head", "w1", "w2"]

    play(act)


def test_a_group_that_is_removed_leaves_its_pods() -> None:
    async def act(scene: Scene) -> None:
        await up(scene, 1)
        await scene.harm(ConfigChange(node_type="gpu", removed=True))
        await asyncio.sleep(SOON_S)
        assert [group["groupName"] for group in scene.pods.resource["spec"]["workerGroupSpecs"]] == ["cpu"]
        assert await scene.listed() == {"i-00001": "Running"}

    play(act)


@pytest.mark.parametrize("name", ["gr\u00fcn", "a b", "it's"])
def test_a_resource_has_the_name_that_it_was_given(name: str) -> None:
    group = ray_cluster("ray", ClusterSpec.model_validate({"head_resources": {"CPU": 1, name: 3}}))["spec"][
        "headGroupSpec"
    ]
    assert autoscaling_config._get_ray_resources_from_group_spec(group, is_head=True) == {"CPU": 1, name: 3}


@pytest.mark.parametrize("name", ['so "called"', "back\\slash"])
def test_a_resource_whose_name_ray_would_read_as_another_is_refused(name: str) -> None:
    with pytest.raises(InvalidSpec, match="on KubeRay its name may have no quote and no backslash"):
        ray_cluster("ray", ClusterSpec.model_validate({"head_resources": {"CPU": 1, name: 3}}))


def test_the_cluster_that_is_specified_is_the_resources() -> None:
    spec = ClusterSpec.model_validate(
        {
            **SPEC.model_dump(),
            "max_workers": 3,
            "upscaling_speed": 1.0,
            "node_types": {"tpu": {"resources": {"CPU": 1, "v": 2}, "min_workers": 2, "hosts": 2, "idle_timeout_s": 9}},
        }
    )

    async def act(scene: Scene) -> None:
        resource = scene.pods.resource["spec"]
        assert resource["autoscalerOptions"]["upscalingMode"] == "Conservative"
        [group] = resource["workerGroupSpecs"]
        assert group["rayStartParams"] == {"num-cpus": "1", "resources": r'"{\"v\": 2}"'}
        limits = [group[name] for name in ("replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds")]
        assert limits == [1, 1, 1, 9]

    play(act, spec=spec)
