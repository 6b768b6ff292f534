"""Edits of the autoscaler's configuration: they compose, what is in force is told, and undoing restores the rest."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaos.cloud.configuring import ConfigurationFile, in_force
from chaos.cloud.launching import LaunchRefused
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InjectionError
from chaos.events import ConfigChanged
from chaos.harm import ConfigChange
from tests.cloud.fake_driver import SPEC, Sky, on_virtual_time
from tests.doubles import VirtualClock, settle

GPU_MOST_TWO = ConfigChange(node_type="gpu", max_workers=2)
TPU = ConfigChange(node_type="tpu", resources={"TPU": 1.0}, max_workers=3)


@pytest.fixture
async def sky(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Sky]:
    clock = VirtualClock()
    on_virtual_time(monkeypatch, clock)
    sky = Sky(tmp_path, clock=clock)
    (tmp_path / "autoscaling.yaml").write_text("as the head was started")
    await sky.cloud.resume()
    await sky.cloud.start_head()
    yield sky
    await sky.cloud.tear_down()


def written(sky: Sky) -> ClusterSpec:
    return ClusterSpec.model_validate_json((sky.directory / "autoscaling.yaml").read_text())


def test_changes_apply_in_order_and_leave_the_rest() -> None:
    changes = [ConfigChange(max_workers=7), GPU_MOST_TWO, ConfigChange(node_type="gpu", idle_timeout_s=3.0), TPU]
    now = in_force(SPEC, changes)
    assert now.max_workers == 7
    assert now.node_types["gpu"] == SPEC.node_types["gpu"].model_copy(update={"max_workers": 2, "idle_timeout_s": 3.0})
    assert now.node_types["cpu"] == SPEC.node_types["cpu"]
    assert (now.node_types["tpu"].resources, now.node_types["tpu"].max_workers) == ({"TPU": 1.0}, 3)
    assert "gpu" not in in_force(SPEC, [*changes, ConfigChange(node_type="gpu", removed=True)]).node_types


def test_a_minimum_that_no_longer_fits_counts_as_much_as_fits() -> None:
    many = [ConfigChange(node_type=name, min_workers=3) for name in ("gpu", "cpu")]
    assert in_force(SPEC, [ConfigChange(max_workers=8), *many]).min_workers == 6
    assert in_force(SPEC, many).min_workers == SPEC.max_workers == 4
    assert in_force(SPEC, [GPU_MOST_TWO, many[0]]).min_workers == 2


def test_a_change_of_a_type_whose_addition_was_undone_does_nothing() -> None:
    assert in_force(SPEC, [ConfigChange(node_type="tpu", max_workers=9)]) == SPEC


async def test_an_edit_is_written_told_and_undone(sky: Sky) -> None:
    await sky.cloud.apply("e1", GPU_MOST_TWO, lease_s=60.0)
    await sky.cloud.apply("e2", ConfigChange(max_workers=9), lease_s=60.0)
    assert (written(sky).node_types["gpu"].max_workers, written(sky).max_workers) == (2, 9)
    await sky.cloud.undo("e1")
    await sky.cloud.undo("e1")
    assert (written(sky).node_types["gpu"].max_workers, written(sky).max_workers) == (4, 9)
    await sky.cloud.undo("e2")
    assert written(sky) == sky.cloud.spec == SPEC
    told = [event for event in await sky.events() if isinstance(event, ConfigChanged)]
    assert [(event.effect, event.undone, event.max_workers) for event in told] == [
        ("e1", False, 4),
        ("e2", False, 9),
        ("e1", True, 9),
        ("e2", True, 4),
    ]
    assert told[0].node_types["gpu"].max_workers == 2
    assert told[0].node_types["gpu"].resources == SPEC.node_types["gpu"].resources


async def test_the_end_of_the_lease_restores_the_configuration(sky: Sky) -> None:
    await sky.cloud.apply("e1", GPU_MOST_TWO, lease_s=5.0)
    assert sky.driver.clock is not None
    await sky.driver.clock.advance_to(6.0)
    assert written(sky) == SPEC
    assert sky.cloud.effects() == []


async def test_what_is_in_force_survives_a_crash_of_the_cloud(sky: Sky) -> None:
    await sky.cloud.apply("e1", GPU_MOST_TWO, lease_s=60.0)
    assert sky.reborn().spec.node_types["gpu"].max_workers == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (ConfigChange(node_type="tpu", max_workers=1), "node type 'tpu' is none of this cluster's: gpu, cpu"),
        (ConfigChange(node_type="gpu", min_workers=5), "min_workers 5 is above max_workers 4"),
        (ConfigChange(node_type="gpu", min_workers=4, max_workers=9), ""),
    ],
)
async def test_the_impossible_is_refused(sky: Sky, change: ConfigChange, says: str) -> None:
    if not says:
        await sky.cloud.apply("e1", change, lease_s=60.0)
        with pytest.raises(InjectionError, match="add up to 4, above max_workers 3"):
            await sky.cloud.apply("e2", ConfigChange(max_workers=3), lease_s=60.0)
        return
    with pytest.raises(InjectionError, match=says):
        await sky.cloud.apply("e1", change, lease_s=60.0)
    assert sky.cloud.effects() == []


async def test_launches_are_accepted_by_the_types_in_force(sky: Sky) -> None:
    await sky.cloud.apply("e1", TPU, lease_s=60.0)
    [added] = await sky.cloud.launch("tpu", 1, {})
    await sky.cloud.apply("e2", ConfigChange(node_type="gpu", removed=True), lease_s=60.0)
    with pytest.raises(LaunchRefused, match="'gpu' is none of this cluster's: cpu, tpu"):
        await sky.cloud.launch("gpu", 1, {})
    await sky.cloud.undo("e1")
    await settle()
    assert added.shape is not None
    assert added.shape.resources == {"TPU": 1.0}
    assert [item.state for item in sky.cloud.instances()] == ["running", "running"]


async def test_the_last_type_is_not_removed(sky: Sky) -> None:
    await sky.cloud.apply("e1", ConfigChange(node_type="cpu", removed=True), lease_s=60.0)
    with pytest.raises(InjectionError, match="'gpu' is the only node type; add another"):
        await sky.cloud.apply("e2", ConfigChange(node_type="gpu", removed=True), lease_s=60.0)


def test_reading_the_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "autoscaling.yaml"
    file = ConfigurationFile(path, lambda spec: spec.model_dump_json())
    file.write(SPEC)
    assert not path.exists()  # the head is yet to be started
    assert not file.was_read()
    path.write_text("")
    file.write(SPEC)
    assert not file.was_read()
    assert path.read_text() == SPEC.model_dump_json()
    os.utime(path)  # what a read does on a file system that notes it; some do not
    assert file.was_read()
