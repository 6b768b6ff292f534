"""The JSON schema of a specification, for editors: it accepts and refuses what the parser does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import yaml
from jsonschema import Draft202012Validator

import faults
import workloads
from chaos import yaml_text
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InvalidSpec
from chaos.spec import Catalogue, RunSpec, json_schema, parse

CATALOGUE = Catalogue(faults=faults.ALL, workloads=workloads.ALL)
SPECS = sorted((Path(__file__).parents[1] / "chaos" / "specs").glob("*.yaml"))
SCHEMA = json_schema(CATALOGUE)
VALIDATOR = Draft202012Validator(SCHEMA)


def complaints(data: object) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(data)]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    names = {name for name in SCHEMA["$defs"]}
    text = str(SCHEMA)
    assert all(f"#/$defs/{name}" in text for name in names - {"Target"})


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_schema_accepts_the_built_in_specs_as_written_and_resolved(path: Path) -> None:
    assert complaints(yaml_text.load(path.read_text())) == []
    assert complaints(parse(path.read_text(), CATALOGUE).to_data()) == []


def changed(change: Mapping[str, object], **injection: object) -> dict[str, object]:
    kill = {"fault": "kill_node", "target": "w1", "at_s": 1.0, **injection}
    return {"workload": "batch_inference", "schedule": [kill], **change}


@pytest.mark.parametrize(
    "data",
    [
        changed({"clutser": {}}),
        changed({"cluster": {"max_worker": 1}}),
        changed({"cluster": {"node_types": {"gpu": {"resources": {"CPU": 1}, "colour": "red"}}}}),
        changed({"bounds": {"slack": 1}}),
        changed({"workload": "nothing"}),
        changed({"workload": {"name": "batch_inference", "row": 1}}),
        changed({}, fault="kill_nod"),
        changed({}, traget="w1"),
        changed({}, target={"select": "random", "cout": 1}),
        changed({}, at_s=None, on={"evnt": "node.joined"}),
        changed({"schedule": {"injection": []}}),
        changed({"seed": -1}),
    ],
)
def test_the_schema_and_the_parser_refuse_the_same(data: dict[str, object]) -> None:
    assert complaints(changed({})) == []
    assert complaints(data) != []
    with pytest.raises(InvalidSpec):
        parse(yaml.safe_dump(data), CATALOGUE)


def test_the_schema_knows_every_fault_workload_and_field() -> None:
    items = SCHEMA["properties"]["schedule"]["oneOf"][0]["items"]["oneOf"]
    assert {item["properties"]["fault"]["const"] for item in items} == set(faults.ALL)
    for item in items:
        own = faults.ALL[item["title"]].model_fields
        assert own.keys() <= item["properties"].keys()
    assert set(SCHEMA["properties"]) == set(RunSpec.model_fields)
    assert set(SCHEMA["$defs"]["ClusterSpec"]["properties"]) == set(ClusterSpec.model_fields)
    kinds = get_args(ClusterSpec.model_fields["kind"].annotation)
    assert SCHEMA["$defs"]["ClusterSpec"]["properties"]["kind"]["enum"] == list(kinds)


def test_a_catalogue_of_others_is_described_too() -> None:
    empty = json_schema(Catalogue(faults={}, workloads={}))
    assert empty["properties"]["workload"] == {"oneOf": [{"enum": []}]}
    assert SimpleNamespace(**empty).title == "raychaos run specification"
