"""`raychaos run --cluster sim`: what the model has nothing of is refused before anything starts."""

from __future__ import annotations

import pytest

from chaos import cli
from chaos.errors import InvalidSpec
from chaos.twin import refuse_beyond_model
from tests.sim.twin import twin_spec


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("abort: {command: [ls]}\n", "abort.command looks at a machine"),
        (
            "cluster: {ray_environment: {RAY_AUTOSCALER_RECONCILE_REQUEST_STATUS_TIMEOUT_S: soon}}\n",
            "is 'soon'; Ray reads a whole number there",
        ),
        ("schedule: [{fault: kill_node, target: head, at_s: 1}]\n", "injection i1: the model's driver and head"),
        ("schedule: [{fault: kill_gcs, at_s: 1}]\n", "injection i1: the model's driver and head cannot"),
    ],
)
def test_what_is_beyond_the_model_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidSpec, match=says) as caught:
        refuse_beyond_model(twin_spec(text))
    assert "use --cluster local or compose" in str(caught.value)


@pytest.mark.parametrize(
    "injection",
    [
        "{fault: kill_autoscaler, at_s: 1, duration_s: 2}",
        "{fault: pause_autoscaler, at_s: 1, duration_s: 2}",
        "{fault: pause_gcs, at_s: 1, duration_s: 2}",
        "{fault: pause_process, role: gcs_server, target: head, at_s: 1, duration_s: 2}",
        "{fault: kill_driver, at_s: 1}",
    ],
)
def test_processes_of_the_models_head_can_be_hit(injection: str) -> None:
    refuse_beyond_model(twin_spec(f"schedule: [{injection}]\n"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--keep"], "leave --name and --keep out"),
        (["--name", "x"], "leave --name and --keep out"),
        (["--set", "cluster.autoscaler=v1"], "the twin steps Ray's autoscaler v2"),
        (
            ["--set", "schedule=[{fault: conflict_patch, at_s: 1, duration_s: 2}]"],
            "needs RunsOnKubeRay, which a sim cluster does not have",
        ),
        (
            ["--provider", "kuberay", "--set", "schedule=[{fault: duplicate_launch, at_s: 1, duration_s: 2}]"],
            "KubeRay's operator creates no pod twice",
        ),
        (
            ["--set", "schedule=[{fault: lose_packets, percent: 5, target: oldest, at_s: 1, duration_s: 2}]"],
            "needs ShapesNetworks, which a sim cluster does not have",
        ),
    ],
)
def test_what_the_twin_cannot_do_is_wrong_usage(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["run", "--cluster", "sim", *arguments])
    assert left.value.code == cli.EXIT_USAGE
    assert says in capsys.readouterr().err


def test_only_the_twin_has_a_provider_to_choose(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["run", "--provider", "kuberay"])
    assert left.value.code == cli.EXIT_USAGE
    assert "--provider is of the twin, not of a local cluster: use --cluster sim" in capsys.readouterr().err
