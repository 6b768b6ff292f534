"""Specifications: what is wrong says where and what was meant, and what is right survives being written."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from chaos import yaml_text
from chaos.cluster_spec import NodeType
from chaos.errors import InvalidSpec
from chaos.schedule import Misplaced
from chaos.spec import RunSpec, from_data, json_schema, missing_on, parse, read_text, refuse_impossible
from chaos.store import create
from tests.test_spec_schema import CATALOGUE, SPECS, VALIDATOR

GOOD = "workload: batch_inference\n"


def wrong(text: str, *overrides: str) -> str:
    """What a specification that cannot be meant is told."""
    with pytest.raises(InvalidSpec) as caught:
        parse(text, CATALOGUE, name="my.yaml", overrides=overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert "Value error" not in message
    return message


# -- malformed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1, 2\nb: 3\n", "my.yaml:2:2: malformed YAML: expected ',' or ']', but got ':'"),
        ("a:\n\t- 1\n", "my.yaml:2:1: malformed YAML: found character '\\t' that cannot start any token"),
        ("a: 'open\n", "my.yaml:2:1: malformed YAML: found unexpected end of stream"),
        ("a: *nobody\n", "my.yaml:1:4: malformed YAML: found undefined alias 'nobody'"),
        ("a: 1\n---\nb: 2\n", "my.yaml:2:1: malformed YAML: but found another document"),
        ("a: !!python/object:os.system x\n", "my.yaml:1:4: malformed YAML: could not determine a constructor"),
        ("{[1]: 2}\n", "my.yaml:1:2: malformed YAML: found unhashable key"),
        ("seed: 1\nname: \x07\n", "my.yaml:2:7: malformed YAML: special characters are not allowed: '\\x07'"),
        ("a: !!int ten\n", "my.yaml:1:1: malformed YAML: invalid literal for int()"),
        (f"seed: {'9' * 5000}\n", "my.yaml:1:1: malformed YAML: Exceeds the limit"),
        ("[" * 1200, "my.yaml:1:1: nested too deeply"),
        ("a: &a [*a]\n", "my.yaml:1:1: nested too deeply, or a part of it contains itself"),
        ("just words\n", "my.yaml:1:1: a spec is a mapping with cluster, workload and schedule"),
        ("- 1\n", "my.yaml:1:1: a spec is a mapping with cluster, workload and schedule"),
    ],
)
def test_malformed_yaml_says_file_line_and_column(text: str, says: str) -> None:
    assert wrong(text).startswith(says)


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="ab:-{}[]&*!|>'\"#%@`,? \n\t012.~", max_size=40))
def test_any_text_is_a_spec_or_says_why_not(text: str) -> None:
    try:
        parse(text, CATALOGUE, name="my.yaml")
    except InvalidSpec as error:
        told = str(error)
        assert told.startswith("my.yaml:")
    else:
        assert yaml_text.load(text) in (None, {})


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"nothing\.yaml: No such file or directory; give a readable YAML file"):
        read_text(tmp_path / "nothing.yaml")
    with pytest.raises(InvalidSpec, match="Is a directory"):
        read_text(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(InvalidSpec, match=r"latin\.yaml: not UTF-8 text \(.* at byte 9\)"):
        read_text(tmp_path / "latin.yaml")


# -- unknown names, at each level -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("clutser: {}\n", "1:1: at clutser", "unknown field 'clutser'; did you mean 'cluster'?"),
        ("seed: 1\ncluster:\n  max_worker: 3\n", "3:3: at cluster.max_worker", "did you mean 'max_workers'?"),
        (
            "cluster:\n  node_types:\n    gpu:\n      resources: {CPU: 2, GPU: 1}\n      min_worker: 1\n",
            "5:7: at cluster.node_types.gpu.min_worker",
            "did you mean 'min_workers'?",
        ),
        ("cluster:\n  health_check: {periodms: 5}\n", "2:18: at cluster.health_check.periodms", "'period_ms'?"),
        ("workload: batch_inferense\n", "1:1: at workload.name", "did you mean 'batch_inference'?"),
        ("workload:\n  name: task_burst\n", "2:3: at workload.name", "did you mean 'task_bursts'?"),
        ("workload:\n  name: batch_inference\n  row: 5\n", "3:3: at workload.row", "did you mean 'rows'?"),
        (
            "workload:\n  name: task_bursts\n  stages:\n    - {tasks: 1, batches: 2}\n    - {task: 1}\n",
            "5:8: at workload.stages.1.task",
            "did you mean 'tasks'?",
        ),
        ("bounds:\n  slack: 3\n", "2:3: at bounds.slack", "did you mean 'slack_s'?"),
        ("schedule:\n  - {fault: kill_nod, at_s: 1}\n", "2:6: at schedule.0.fault", "did you mean 'kill_node'?"),
        (
            "schedule:\n  injections:\n    - fault: kill_node\n      at_s: 1\n      traget: w1\n",
            "5:7: at schedule.injections.0.traget",
            "unknown field of kill_node 'traget'; did you mean 'target'?",
        ),
        ("schedule:\n  injection: []\n", "2:3: at schedule.injection", "did you mean 'injections'?"),
        (
            "schedule:\n  - fault: kill_node\n    target: w1\n    on: {evnt: node.joined}\n",
            "4:10: at schedule.0.on.evnt",
            "unknown field of on 'evnt'; did you mean 'event'?",
        ),
    ],
)
def test_an_unknown_field_says_where_and_names_the_nearest(text: str, place: str, says: str) -> None:
    message = wrong(text)
    assert message.startswith(f"my.yaml:{place}: "), message
    assert says in message
    assert "(allowed: " in message


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("cluster: {kind: locl}\n", "1:11: at cluster.kind", "unknown value 'locl'; did you mean 'local'?"),
        ("cluster: {autoscaler: v3}\n", "1:11: at cluster.autoscaler", "(allowed: v1, v2)"),
        ("cluster: {max_workers: many}\n", "1:11: at cluster.max_workers", "unable to parse string as an integer"),
        ("cluster: {max_workers: many}\n", "1:11: at cluster.max_workers", "not 'many'"),
        ("cluster: {idle_timeout_s: 0}\n", "1:11: at cluster.idle_timeout_s", "greater than 0, not 0"),
        ("cluster: {idle_timeout_s: .inf}\n", "1:11: at cluster.idle_timeout_s", "finite"),
        ("cluster: 7\n", "1:1: at cluster", "valid dictionary"),
        ("cluster: {node_types: {}}\n", "1:11: at cluster.node_types", "at least 1 item"),
        (
            "cluster:\n  node_types: {head: {resources: {GPU: 1, CPU: 1}}}\n",
            "1:1: at cluster",
            "cannot be called 'head'",
        ),
        (
            "cluster: {node_types: {a: {resources: {CPU: 1}, min_workers: 5}}}\n",
            "1:24: at cluster.node_types.a",
            "min_workers 5 is above max_workers 4",
        ),
        (
            "cluster: {node_types: {a: {resources: {CPU: 1.5, GPU: 1}}}}\n",
            "1:40: at cluster.node_types.a.resources.CPU",
            "whole numbers of a resource, not 1.5; allowed: 0, 1, 2, …; round it",
        ),
        ("cluster: {head_resources: {GPU: 0.5}}\n", "1:28: at cluster.head_resources.GPU", "not 0.5"),
        ("cluster: {head_resources: {disk: 2.5}}\n", "1:28: at cluster.head_resources.disk", "not 2.5"),
        (
            "cluster: {head_resources: {object_store_memory: 5}}\n",
            "1:28: at cluster.head_resources.object_store_memory",
            "object_store_memory is cluster.object_store_mb; leave it out",
        ),
        ("cluster: {head_resources: {CPU: -1}}\n", "1:28: at cluster.head_resources.CPU", "greater than or equal to 0"),
        ("name: Not A Label\n", "1:1: at name", "match pattern"),
        ("name: 2026-02-30T99\n", "1:1: at name", "match pattern"),
        ("seed: -1\n", "1:1: at seed", "greater than or equal to 0, not -1"),
        ("deadline_s: 0\n", "1:1: at deadline_s", "greater than 0"),
        ("bounds: {factor: 0.5}\n", "1:10: at bounds.factor", "greater than or equal to 1, not 0.5"),
        ("workload: 7\n", "1:1: at workload", "a workload is a name, or a mapping with `name`, not int"),
        ("workload: {name: batch_inference, rows: 0}\n", "1:35: at workload.rows", "greater than or equal to 1, not 0"),
        (
            "workload: {name: [x]}\n",
            "1:12: at workload.name",
            "(allowed: actor_service, batch_inference, gang_bursts, task_bursts)",
        ),
        ("schedule: 7\n", "1:1: at schedule", "a schedule is a list of injections, not int"),
        ("schedule: false\n", "1:1: at schedule", "a schedule is a list of injections, not bool"),
        ("schedule: [7]\n", "1:12: at schedule.0", "must be a mapping with a `fault`, not int"),
        ("schedule: [{at_s: 1}]\n", "1:12: at schedule.0", "an injection needs a `fault`"),
    ],
)
def test_a_value_that_cannot_be_says_where_and_what_is_allowed(text: str, place: str, says: str) -> None:
    message = wrong(text)
    assert message.startswith(f"my.yaml:{place}: "), message
    assert says in message


# -- what cannot be meant -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("injection", "place", "says"),
    [
        (
            "fault: kill_node, at_s: 1, target: w0",
            "2:33: at schedule.0.target",
            "target 'w0' cannot exist; allowed: head",
        ),
        ("fault: kill_node, at_s: 1, target: worker1", "2:33: at schedule.0.target", "cannot exist"),
        ("fault: kill_node, at_s: 1, target: {select: all, count: 2}", "2:33: at schedule.0.target", "no meaning with"),
        (
            "fault: kill_node, at_s: 1, target: {select: random, node_type: gpus}",
            "2:5: at schedule.injections.0",
            "unknown node type 'gpus'; did you mean 'gpu'?",
        ),
        (
            "fault: fail_launch, at_s: 1, duration_s: 1, node_type: tpu",
            "2:5: at schedule.injections.0",
            "unknown node type 'tpu'",
        ),
        (
            "fault: kill_node, target: w1, on: {event: node.joined, node_type: cpu}",
            "2:5: at schedule.injections.0",
            "unknown node type 'cpu'",
        ),
        (
            "fault: kill_node, target: w1, at_s: 180",
            "2:36: at schedule.injections.0.at_s",
            "at_s 180 is not before the deadline of 180 s",
        ),
        (
            "fault: pause_node, target: w1, at_s: 1",
            "2:5: at schedule.0",
            "pause_node lasts: give duration_s, in seconds",
        ),
        ("fault: kill_node, target: w1, at_s: soon", "2:36: at schedule.0.at_s", "valid number"),
        ("fault: throttle_network, target: w1, at_s: 1, duration_s: 1", "2:5: at schedule.0.rate_mbit", "required"),
    ],
)
def test_an_injection_that_cannot_be_is_refused_before_anything_starts(injection: str, place: str, says: str) -> None:
    message = wrong(f"schedule:\n  - {{{injection}}}\n")
    assert message.startswith(f"my.yaml:{place}: "), message
    assert says in message


def test_a_head_is_restarted_only_where_its_gcs_and_the_driver_outlive_it() -> None:
    kinds = "{gpu: {resources: {CPU: 2, GPU: 1}}, cpu: {resources: {CPU: 1}, min_workers: 1, max_workers: 1}}"
    schedule = "schedule:\n  - {fault: restart_head, at_s: 1}\n"
    for own in ("", ", gcs_storage: rocksdb", ", driver_on: cpu"):
        message = wrong(f"cluster: {{node_types: {kinds}{own}}}\n{schedule}")
        assert message.startswith("my.yaml:3:5: at schedule.injections.0: restart_head ends what lives on the head")
    parse(f"cluster: {{node_types: {kinds}, gcs_storage: rocksdb, driver_on: cpu}}\n{schedule}", CATALOGUE)
    containers = f"cluster: {{kind: KIND, node_types: {kinds}, gcs_storage: redis, driver_on: cpu}}\n{schedule}"
    parse(containers.replace("KIND", "compose"), CATALOGUE)
    assert "gcs_storage: redis is a server in a container" in wrong(containers.replace("KIND", "local"))
    assert "driver_on 'gpu' must be 'head', or a node type whose min_workers is its max_workers" in wrong(
        f"cluster: {{node_types: {kinds}, driver_on: gpu}}\n"
    )


def test_demand_no_node_type_can_hold_is_refused() -> None:
    message = wrong("cluster:\n  node_types:\n    small: {resources: {CPU: 1}}\n")
    assert message.startswith("my.yaml:2:3: at cluster.node_types: the workload asks for {'GPU': 1.0} at once")
    assert "(small: {'CPU': 1.0}); enlarge a node type or ask for less" in message
    message = wrong("cluster:\n  node_types:\n    gpu: {resources: {CPU: 2, GPU: 1}, max_workers: 0}\n")
    assert "no node type can hold (none)" in message


def test_a_cluster_without_workers_is_refused() -> None:
    assert wrong("cluster: {max_workers: 0}\n").startswith("my.yaml:1:11: at cluster.max_workers: the cluster may have")


def test_a_fault_its_cluster_cannot_do_is_named_with_the_capability() -> None:
    text = "schedule:\n  - {fault: partition_network, target: w1, at_s: 1, duration_s: 2, id: cut}\n"
    spec = parse(text, CATALOGUE)

    class Bare:
        pass

    assert missing_on(spec, Bare) == (
        "injection cut: partition_network needs ShapesNetworks, UndoesEffects, which a local cluster does not have",
    )


def test_a_schedule_put_into_a_spec_later_is_checked_too() -> None:
    spec = parse("deadline_s: 10\n", CATALOGUE)
    late = parse("schedule: [{fault: kill_node, target: w1, at_s: 50}]\n", CATALOGUE).schedule
    with pytest.raises(InvalidSpec, match=r"^other\.yaml: at schedule\.injections\.0\.at_s: at_s 50 is not before"):
        refuse_impossible(spec.model_copy(update={"schedule": late}), name="other.yaml")


# -- overrides ------------------------------------------------------------------------------------------------


def overridden(text: str, *overrides: str) -> RunSpec:
    return parse(text, CATALOGUE, overrides=overrides)


def test_overrides_reach_every_level() -> None:
    text = "workload: batch_inference\nschedule:\n  - {fault: kill_node, target: w1, at_s: 5}\n"
    spec = overridden(
        text, "seed=7", "cluster.max_workers=2", "workload.rows=96", "schedule.0.at_s=9", "schedule.0.target=newest",
        "cluster.node_types.gpu.min_workers=1", "bounds={factor: 3}", "cluster.ray_environment.RAY_x=y=z",
    )  # fmt: skip
    assert (spec.seed, spec.cluster.max_workers, spec.workload.rows_total, spec.bounds.factor) == (7, 2, 96, 3.0)
    [injection] = spec.schedule.injections
    assert injection.target is not None
    assert (injection.at_s, injection.target.select) == (9.0, "newest")
    assert spec.cluster.node_types == {"gpu": NodeType(resources={"CPU": 2.0, "GPU": 1.0}, min_workers=1)}
    assert spec.cluster.ray_environment == {"RAY_x": "y=z"}


def test_overrides_make_what_is_not_there() -> None:
    assert overridden("", "cluster.health_check.period_ms=500").cluster.health_check.period_ms == 500
    assert overridden("schedule: []\n", "schedule={injections: []}") == overridden("")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seed", "--set 'seed': write path=value, for example cluster.max_workers=2"),
        ("=3", "--set '=3': write path=value"),
        ("seed=[1", "--set seed:1:3: malformed YAML"),
        ("seed=x", "--set seed: at seed: Input should be a valid integer"),
        ("sede=1", "--set sede: at sede: unknown field 'sede'; did you mean 'seed'?"),
        ("cluster.max_worker=1", "--set cluster.max_worker: at cluster.max_worker: unknown field"),
        ("cluster.=1", "--set cluster.: at cluster.: unknown field ''"),
        ("cluster.²=1", "--set cluster.²: at cluster.²: unknown field '²'"),
        ("seed.x=1", "--set 'seed.x=1': seed.x does not name a field"),
        ("seed.x.y=1", "--set 'seed.x.y=1': there is no"),
        ("schedule.5.at_s=1", "--set 'schedule.5.at_s=1': there is no 5 to go through in schedule.5.at_s"),
        ("schedule.0.at_s=900", "--set schedule.0.at_s: at schedule.injections.0.at_s: at_s 900 is not before"),
        ("workload=nothing", "--set workload: at workload.name: unknown workload 'nothing'"),
        ("workload.rows=0", "--set workload.rows: at workload.rows: Input should be greater than or equal to 1, not 0"),
        ("cluster.node_types={}", "--set cluster.node_types: at cluster.node_types: "),
    ],
)
def test_an_override_that_cannot_be_is_told_as_the_override(override: str, says: str) -> None:
    message = wrong("seed: 1\nschedule:\n  - {fault: kill_node, target: w1, at_s: 5}\n", override)
    assert message.startswith(says), message


# -- round trips ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_built_in_specs_survive_being_written(path: Path) -> None:
    spec = parse(path.read_text(), CATALOGUE, name=path.name)
    text = spec.to_yaml()
    again = parse(text, CATALOGUE)
    assert again == spec
    assert again.to_yaml() == text
    assert again.schedule.hash == spec.schedule.hash


def test_the_key_on_stays_a_word() -> None:
    text = "schedule:\n  - {fault: kill_node, target: w1, on: {event: node.joined}}\n"
    spec = parse(text, CATALOGUE)
    assert spec.schedule.injections[0].on is not None
    assert "\n    on:\n" in spec.to_yaml()
    assert yaml_text.load("{on: off, yes: no, y: n, t: true, d: 2026-11-23}") == {
        "on": "off", "yes": "no", "y": "n", "t": True, "d": "2026-11-23",
    }  # fmt: skip


WORDS = st.sampled_from(("on", "off", "yes", "no", "true", "null", "1", "1e3", "2026-11-23", "0x1f", "~", "", "a: b"))


@given(words=st.lists(WORDS | st.text(string.printable, max_size=8), max_size=4))
def test_words_survive_yaml_whatever_they_look_like(words: list[str]) -> None:
    data = {"words": words, **dict.fromkeys(words, 1)}
    assert yaml_text.load(yaml_text.dump(data)) == data


FAULTS = st.one_of(
    st.fixed_dictionaries({"fault": st.just("kill_node"), "target": st.sampled_from(("w1", "head", "random", "all"))}),
    st.fixed_dictionaries(
        {
            "fault": st.just("throttle_network"),
            "target": st.fixed_dictionaries({"select": st.just("newest"), "share": st.floats(0.1, 1.0)}),
            "rate_mbit": st.floats(0.1, 1000.0),
            "duration_s": st.floats(0.1, 60.0),
        }
    ),
    st.fixed_dictionaries(
        {"fault": st.just("delay_launch"), "delay_s": st.floats(0.1, 60.0), "duration_s": st.floats(0.1, 60.0)}
    ),
)
WHEN = st.one_of(
    st.fixed_dictionaries({"at_s": st.floats(0.0, 170.0)}),
    st.fixed_dictionaries({"on": st.fixed_dictionaries({"progress_percent": st.floats(1.0, 100.0)})}),
    st.fixed_dictionaries(
        {
            "on": st.fixed_dictionaries({"event": st.just("node.joined"), "nth": st.integers(1, 5)}),
            "after_s": st.floats(0.0, 9.0),
        }
    ),
)
INJECTIONS = st.builds(lambda fault, when: {**fault, **when}, FAULTS, WHEN)
DATA = st.fixed_dictionaries(
    {},
    optional={
        "name": st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True),
        "seed": st.integers(0, 2**63),
        "deadline_s": st.floats(171.0, 1e6),
        "cluster": st.fixed_dictionaries(
            {},
            optional={
                "kind": st.sampled_from(("local", "compose")),
                "max_workers": st.integers(1, 9),
                "idle_timeout_s": st.floats(0.1, 60.0),
                "ray_environment": st.dictionaries(st.text("ABC_", min_size=1, max_size=3), WORDS, max_size=2),
            },
        ),
        "bounds": st.fixed_dictionaries({"factor": st.floats(1.0, 9.0)}),
        "workload": st.sampled_from(("batch_inference", "task_bursts"))
        | st.fixed_dictionaries({"name": st.just("batch_inference"), "rows": st.integers(1, 10**6)}),
        "schedule": st.lists(INJECTIONS, max_size=3),
    },
)


@settings(max_examples=60, deadline=None)
@given(data=DATA)
def test_a_resolved_spec_survives_being_written_and_is_the_same_every_time(data: dict[str, Any]) -> None:
    spec = from_data(data, CATALOGUE)
    text = spec.to_yaml()
    again = parse(text, CATALOGUE)
    assert again == spec
    assert again.to_yaml() == text
    assert again.schedule.to_yaml() == spec.schedule.to_yaml()
    assert list(VALIDATOR.iter_errors(spec.to_data())) == []


def test_the_same_seed_and_spec_give_the_same_files_byte_for_byte(tmp_path: Path) -> None:
    made = [create(tmp_path / str(n), parse(SPECS[0].read_text(), CATALOGUE)) for n in range(2)]
    assert made[0].schedule.read_bytes() == made[1].schedule.read_bytes()
    assert made[0].spec.read_bytes() == made[1].spec.read_bytes()


def test_plain_data_that_is_no_mapping_is_misplaced() -> None:
    given: list[object] = [None, 7, [], "words"]
    for data in given:
        with pytest.raises(Misplaced, match="a spec is a mapping"):
            from_data(data, CATALOGUE)


# -- limits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "blast_radius: {head: false}\nschedule: [{fault: kill_node, target: head, at_s: 1}]\n",
            "my.yaml:2:31: at schedule.injections.0.target: the head would be hit, blast_radius.head is false; "
            "choose workers, or allow it",
        ),
        (
            "blast_radius: {max_nodes_down: 1}\n"
            "schedule: [{fault: kill_node, target: {select: random, count: 2}, at_s: 1}]\n",
            "my.yaml:2:31: at schedule.injections.0.target: 2 workers would be hit, blast_radius.max_nodes_down is 1; "
            "hit fewer, or allow more",
        ),
        ("blast_radius: {max_node_down: 1}\n", "my.yaml:1:16: at blast_radius.max_node_down: unknown field"),
        ("blast_radius: {max_share: 2}\n", "my.yaml:1:16: at blast_radius.max_share: Input should be less than"),
        ("abort: {memory_free: 1}\n", "my.yaml:1:9: at abort.memory_free: unknown field"),
        ("abort: {every_s: 0}\n", "my.yaml:1:9: at abort.every_s: Input should be greater than"),
    ],
)
def test_limits_that_cannot_be_kept_or_meant_say_where(text: str, says: str) -> None:
    assert wrong(text).startswith(says)


def test_limits_survive_being_written() -> None:
    text = "blast_radius: {max_nodes_down: 2, head: false}\nabort: {disk_free_mb: 900, command: [curl, -f, x]}\n"
    spec = parse(text, CATALOGUE)
    assert spec.blast_radius.max_nodes_down == 2
    assert spec.abort.command == ("curl", "-f", "x")
    assert from_data(yaml_text.load(spec.to_yaml()), CATALOGUE) == spec
    assert not list(Draft202012Validator(json_schema(CATALOGUE)).iter_errors(yaml_text.load(text)))


@pytest.mark.parametrize(
    ("kind", "injection", "says"),
    [
        ("local", "{fault: restart_node, target: head, at_s: 1}", "restart_head does that"),
        ("local", "{fault: restart_raylet, target: head, at_s: 1}", "restart_head does that"),
        ("compose", "{fault: fill_disk, target: w1, at_s: 1, duration_s: 2}", "give one disk_limit_mb"),
        ("compose", "{fault: fill_disk, target: head, at_s: 1, duration_s: 2}", "target workers"),
        ("compose", "{fault: skew_clock, offset_s: 9, target: w1, at_s: 1, duration_s: 2}", "give one own_clock: true"),
        ("compose", "{fault: skew_clock, offset_s: 9, target: head, at_s: 1, duration_s: 2}", "target workers"),
        ("local", "{fault: press_memory, until_percent: 50, target: w1, at_s: 1, duration_s: 2}", "give mb"),
    ],
)
def test_what_no_cluster_of_the_spec_can_have_is_refused(kind: str, injection: str, says: str) -> None:
    message = wrong(f"cluster: {{kind: {kind}}}\nschedule: [{injection}]\n")
    assert says in message
    assert "my.yaml:2:" in message


def test_a_group_that_the_limits_can_never_hold_is_refused() -> None:
    job = "workload: {name: gang_bursts, gang_size: 3}\n"
    types = "gpu: {resources: {CPU: 4, GPU: 2}, max_workers: 2}, cpu: {resources: {CPU: 2}, min_workers: 1}"
    cluster = f"cluster: {{max_workers: 3, node_types: {{{types}}}}}\n"
    with pytest.raises(InvalidSpec, match=r"room for 3 bundles .* each on a node of its own, .* limits hold 2;"):
        parse(job + cluster, CATALOGUE)
    packed = job.replace("}", ", strategy: PACK}")
    assert parse(packed + cluster, CATALOGUE).workload.together == 3
    with pytest.raises(InvalidSpec, match="at once, and the cluster's limits hold 2;"):
        parse(packed + cluster.replace("max_workers: 3", "max_workers: 2"), CATALOGUE)
