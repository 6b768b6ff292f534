"""`change_node_types`: proven by the autoscaler having read the edit, and having ended what is of a removed type."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from chaos.harm import ConfigChange
from faults.change_node_types import ChangeNodeTypes
from tests.doubles import FakeCluster, injected, site_of

REMOVED = ChangeNodeTypes(node_type="gpu", remove=True)


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        (REMOVED, ConfigChange(node_type="gpu", removed=True)),
        (
            ChangeNodeTypes(node_type="gpu", resources={"GPU": 2.0}),
            ConfigChange(node_type="gpu", resources={"GPU": 2.0}),
        ),
        (
            ChangeNodeTypes(new_type="big", resources={"CPU": 8.0}, max_workers=2),
            ConfigChange(node_type="big", resources={"CPU": 8.0}, max_workers=2),
        ),
    ],
)
async def test_the_configuration_is_edited(fault: ChangeNodeTypes, change: ConfigChange) -> None:
    cluster = FakeCluster()
    await injected(fault, site_of(cluster))
    assert cluster.changes["run.i1"] == change


async def test_a_removed_type_is_gone_when_its_last_node_is() -> None:
    cluster = FakeCluster(workers=1)
    site = await injected(REMOVED, site_of(cluster))
    seen = await REMOVED.probe(site)
    assert (seen.outcome, "there are still 1 of gpu" in seen.detail) == ("unknown", True)
    del cluster.members["w1"]
    assert (await REMOVED.probe(site)).outcome == "took_effect"


async def test_an_edit_nobody_has_read_is_no_proof() -> None:
    cluster = FakeCluster(workers=0)
    cluster.harmless = True
    assert (await REMOVED.probe(await injected(REMOVED, site_of(cluster)))).outcome == "unknown"


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"resources": {"CPU": 1.0}}, "either node_type"),
        ({"node_type": "gpu", "new_type": "big", "resources": {"CPU": 1.0}}, "either node_type"),
        ({"node_type": "gpu"}, "give resources, or remove"),
        ({"node_type": "gpu", "remove": True, "resources": {"CPU": 1.0}}, "give resources, or remove"),
        ({"new_type": "big", "remove": True}, "give resources, or remove"),
        ({"new_type": "head", "resources": {"CPU": 1.0}}, "cannot be called"),
    ],
)
def test_anything_else_is_refused(own: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ChangeNodeTypes.model_validate(own)
