"""The API: what Ray's own client would raise, and of what is refused nothing is done."""

from __future__ import annotations

import asyncio

import pytest
import requests
from ray.autoscaler._private.kuberay.node_provider import KUBERAY_REQUEST_TIMEOUT_S

from chaos.clock import monotonic_s
from chaos.events import CloudAnsweredWrong, NodeLaunchFailed
from chaos.harm import LaunchFault, LostReply, Outage, PatchConflict, StaleListing, TerminationFault
from chaos.sim.kuberay.api import Client
from chaos.sim.node import Motion
from chaos.sim.turns import run_in_turns
from tests.sim.kuberay.scene import PATH, Scene, play


async def status_of(scene: Scene, *ending: str, replicas: int = 1) -> int:
    """With which status an edit is refused; nothing is changed."""
    before = scene.pods.resource
    with pytest.raises(requests.HTTPError) as caught:
        await scene.want(0, replicas, *ending)
    assert scene.pods.resource is before
    assert PATH in str(caught.value)
    return int(caught.value.response.status_code)


def test_an_edit_is_another_version_and_is_read_at_once() -> None:
    async def act(scene: Scene) -> None:
        before = await scene.api.get(PATH)
        await scene.want(0, 2)
        after = await scene.api.get(PATH)
        assert after["spec"]["workerGroupSpecs"][0]["replicas"] == 2
        assert int(after["metadata"]["resourceVersion"]) == int(before["metadata"]["resourceVersion"]) + 1
        after["spec"].clear()  # what is answered is a copy
        assert (await scene.api.get(PATH))["spec"]

    play(act)


def test_the_first_edits_conflict_with_anothers() -> None:
    async def act(scene: Scene) -> None:
        await scene.harm(PatchConflict(patches=2))
        assert [await status_of(scene) for _ in range(2)] == [409, 409]
        await scene.want(0, 1)
        assert [event.how for event in scene.told(CloudAnsweredWrong)][:1] == ["conflict"]

    play(act)


@pytest.mark.parametrize(
    ("error", "status"), [("RequestLimitExceeded: x", 429), ("InternalError: x", 500), ("anything else", 500)]
)
def test_an_edit_that_asks_for_more_may_be_refused(error: str, status: int) -> None:
    async def act(scene: Scene) -> None:
        await scene.harm(LaunchFault(error=error, count=2))
        assert await status_of(scene, replicas=2) == status
        [failed] = scene.told(NodeLaunchFailed)
        assert (failed.count, failed.reason) == (2, error)
        await scene.want(0, 2)

    play(act)


def test_of_an_edit_that_is_refused_all_that_it_asked_for_has_failed() -> None:
    async def act(scene: Scene) -> None:
        await scene.harm(LaunchFault(error="InternalError: x", count=1, node_type="gpu"))
        await scene.want(1, 1)
        both = [{"op": "replace", "path": f"/spec/workerGroupSpecs/{n}/replicas", "value": 3} for n in (0, 1)]
        with pytest.raises(requests.HTTPError):
            await scene.api.patch(PATH, both)
        assert [(failed.node_type, failed.count) for failed in scene.told(NodeLaunchFailed)] == [("gpu", 3), ("cpu", 2)]
        await asyncio.sleep(1.0)
        assert len(await scene.listed()) == 1

    play(act)


def test_of_an_edit_that_ends_pods_and_is_refused_none_is_ended() -> None:
    async def act(scene: Scene) -> None:
        await scene.want(0, 2)
        await asyncio.sleep(1.0)
        await scene.harm(TerminationFault(error="no"))
        assert await status_of(scene, "i-00001", "i-00002", replicas=0) == 503
        [answer] = scene.told(CloudAnsweredWrong)
        assert (answer.count, answer.detail) == (2, "i-00001, i-00002")

    play(act)


def test_an_edit_that_ends_pods_may_be_refused_and_only_the_first_time_they_are_named() -> None:
    async def act(scene: Scene) -> None:
        await scene.want(0, 1)
        await asyncio.sleep(1.0)
        await scene.harm(TerminationFault(error="no"))
        assert await status_of(scene, "i-00001", replicas=0) == 503
        assert [event.how for event in scene.told(CloudAnsweredWrong)] == ["not_terminated"]

    play(act)


def test_an_edit_may_be_made_and_its_answer_lost() -> None:
    async def act(scene: Scene) -> None:
        await scene.harm(LostReply(requests=1, error="no answer"))
        with pytest.raises(requests.HTTPError) as caught:
            await scene.want(0, 2)
        assert caught.value.response.status_code == 504
        await asyncio.sleep(1.0)
        assert len(await scene.listed()) == 2

    play(act)


def test_an_edit_that_cannot_be_applied_is_invalid() -> None:
    async def act(scene: Scene) -> None:
        with pytest.raises(requests.HTTPError) as caught:
            await scene.api.patch(PATH, [{"op": "replace", "path": "/spec/workerGroupSpecs/7/replicas", "value": 1}])
        assert caught.value.response.status_code == 422

    play(act)


def test_an_api_out_of_reach_or_too_slow_is_what_requests_raises() -> None:
    async def act(scene: Scene) -> None:
        effect_id = await scene.harm(Outage(mode="unreachable"))
        with pytest.raises(requests.ConnectionError, match="out of reach"):
            await scene.api.get(PATH)
        await scene.cloud.undo(effect_id)
        await scene.harm(Outage(mode="slow", delay_s=KUBERAY_REQUEST_TIMEOUT_S + 5.0))
        began_s = monotonic_s()
        with pytest.raises(requests.ReadTimeout, match="no answer in 60 s"):
            await scene.want(0, 1)
        assert monotonic_s() - began_s == pytest.approx(KUBERAY_REQUEST_TIMEOUT_S)
        await asyncio.sleep(6.0)  # given up, and carried out all the same
        assert scene.pods.resource["spec"]["workerGroupSpecs"][0]["replicas"] == 1

    play(act)


def test_an_old_list_shows_pods_as_they_were() -> None:
    async def act(scene: Scene) -> None:
        await scene.harm(StaleListing())
        await scene.want(0, 1)
        await asyncio.sleep(1.0)
        assert await scene.listed() == {}
        assert [pod.instance for pod in scene.pods.there()] == ["i-00001"]

    play(act)


def test_rays_client_waits_where_it_is_called_and_time_goes_on() -> None:
    async def act(scene: Scene) -> None:
        await scene.harm(Outage(mode="slow", delay_s=7.0))
        client = Client(scene.api, Motion())
        began_s = monotonic_s()
        found = await run_in_turns(lambda: client.get(PATH))
        assert found["metadata"]["name"] == "ray"
        assert monotonic_s() - began_s >= 7.0
        for refused in (lambda: client.delete(PATH), lambda: client.patch(PATH, {}, "application/merge-patch+json")):
            with pytest.raises(requests.HTTPError):
                await run_in_turns(refused)

    play(act)


def test_a_client_that_hangs_makes_no_call_and_hears_no_answer() -> None:
    async def act(scene: Scene) -> None:
        await scene.harm(Outage(mode="slow", delay_s=3.0))
        motion = Motion()
        client = Client(scene.api, motion)
        edit = [{"op": "replace", "path": "/spec/workerGroupSpecs/0/replicas", "value": 1}]

        def replicas() -> int:
            return int(scene.pods.resource["spec"]["workerGroupSpecs"][0]["replicas"])

        began_s = monotonic_s()
        motion.freeze()
        calling = asyncio.create_task(run_in_turns(lambda: client.patch(PATH, edit)))
        await asyncio.sleep(10.0)
        assert replicas() == 0
        motion.thaw()
        await asyncio.sleep(2.0)
        motion.freeze()
        await asyncio.sleep(8.0)
        assert replicas() == 1, "what was called is carried out"
        assert not calling.done()
        motion.thaw()
        await calling
        assert monotonic_s() - began_s == pytest.approx(20.0)

    play(act)
