"""A driver whose cluster is imaginary, to test the frame of all drivers without Ray."""

from __future__ import annotations

import sys
import time
from typing import ClassVar, Literal

from chaos.errors import ClusterError
from chaos.events import Resources
from chaos.workload import Workload
from workloads import driver


class Stub(Workload):
    """Does nothing for a while, or fails."""

    name: ClassVar[str] = "stub"
    summary: ClassVar[str] = "nothing"
    driver_module: ClassVar[str] = "tests.workloads.stub_driver"
    verify_module: ClassVar[str] = "tests.workloads.stub_driver"

    behaviour: Literal["ends", "raises", "refuses", "waits", "waits_stubbornly"] = "ends"

    @property
    def rows_total(self) -> int:
        """One."""
        return 1

    def bundles(self) -> tuple[Resources, ...]:
        """One CPU."""
        return ({"CPU": 1.0},)

    def nodes_wanted(self, bundle_fits_per_node: int) -> int:
        """None."""
        return 0


class StubDriver(driver.Driver[Stub]):
    """Runs a stub."""

    def run(self) -> None:
        """Behaves as told."""
        self.report_started()
        self.report_demand({"CPU": 1.0}, 2)
        behaviour = self.workload.behaviour
        if behaviour == "raises":
            raise KeyError("\x1b[31m" + "x" * 5000 + "the cause")
        if behaviour == "refuses":
            raise ClusterError("no room")
        if behaviour == "waits":
            time.sleep(60)
        while behaviour == "waits_stubbornly":
            try:
                print("clinging", flush=True)
                time.sleep(60)
            except driver.Stopped:
                print("ignored", flush=True)
        self.report_demand({}, 0)


if __name__ == "__main__":
    driver._connect = lambda: print("connected", flush=True)
    driver._disconnect = lambda: print("disconnected", flush=True)
    sys.exit(driver.main(StubDriver, Stub))
