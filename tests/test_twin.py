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
            "cluster: {driver_on: d, node_types: {d: {resources: {CPU: 1, GPU: 1}, min_workers: 1, max_workers: 1}}}\n",
            "cluster.driver_on must be 'head'",
        ),
        ("schedule: [{fault: kill_node, target: head, at_s: 1}]\n", "injection i1: the model's driver and head"),
    ],
)
def test_what_is_beyond_the_model_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidSpec, match=says) as caught:
        refuse_beyond_model(twin_spec(text))
    assert "use --cluster local or compose" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--keep"], "leave --name and --keep out"),
        (["--name", "x"], "leave --name and --keep out"),
        (["--set", "cluster.autoscaler=v1"], "the twin steps Ray's autoscaler v2"),
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
