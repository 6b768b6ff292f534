"""Stand-ins for tests: a clock that moves only when told, and a cluster without nodes that can be harmed."""

from __future__ import annotations

from tests.doubles.clock import VirtualClock, settle
from tests.doubles.cluster import CAPABILITIES, OPEN_MBIT, FakeCluster
from tests.doubles.nodes import FakeProcess, node_named, processes_on
from tests.doubles.scripted import Scripted, ScriptedLaunch, fake, injected, opened, site_of, unknown

__all__ = [
    "CAPABILITIES",
    "OPEN_MBIT",
    "FakeCluster",
    "FakeProcess",
    "Scripted",
    "ScriptedLaunch",
    "VirtualClock",
    "fake",
    "injected",
    "node_named",
    "opened",
    "processes_on",
    "settle",
    "site_of",
    "unknown",
]
