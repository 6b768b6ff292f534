"""What Ray says in its logs of the RPC faults a node was started with."""

from __future__ import annotations

from pathlib import Path

from chaos.cloud.rpc_faults import environment_for
from chaos.cluster import RpcFaultsSeen
from chaos.clusters.rpc_logs import seen_in
from chaos.harm import RpcFault


def test_failures_and_delays_are_counted_in_the_logs_of_the_node(tmp_path: Path) -> None:
    (tmp_path / "raylet.out").write_text(
        "I: Inject RPC request failure for A.b\nI: Inject RPC response failure for A.b\nE: Delaying method C for 5us\n"
    )
    (tmp_path / "raylet.err").write_text("RAY_testing_asio_delay_us is set to C=1000:2000\n")
    (tmp_path / "monitor.log").write_text("Inject RPC request failure for A.b\n")
    (tmp_path / "raylet.gone").mkdir()
    both = RpcFault(methods=("A.b", "C"), request_failure_percent=5, max_delay_ms=2)
    seen = seen_in(sorted(tmp_path.iterdir()), environment_for([both]))
    assert seen == RpcFaultsSeen(failing=("A.b", "C"), delaying=("A.b", "C"), failed=2, announced=True, delayed=1)


def test_a_node_without_faults_shows_none() -> None:
    assert seen_in([], {}) == RpcFaultsSeen()
