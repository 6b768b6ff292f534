"""The frame of every driver: connect, do the job, report how it ended, and leave no demand behind however it ends.

A driver is run on the head as `python -m <module> --params JSON`; `contract` names the environment it needs. It ends
when its standard input does, for then its runner has died. SIGTERM means the same.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

from chaos.errors import ChaosError
from chaos.events import Demand, DemandChanged, Resources, WorkloadFinished, WorkloadStarted
from chaos.workload import Workload
from workloads.contract import (
    ADDRESS_VARIABLE,
    NODE_IP_VARIABLE,
    OUTPUT,
    argument_parser,
    data_directory,
    parse_workload,
    report,
    setting,
)

W = TypeVar("W", bound=Workload)

STOP_LIMIT_S = 4.0
END_LIMIT_S = 15.0
_ERROR_CHARACTERS = 2000
_CHAINED = "The above exception was the direct cause of the following exception:"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Stopped(BaseException):
    """The runner died or asked the driver to end; no `Exception`, so that nothing retries it."""


class Driver(ABC, Generic[W]):
    """One job on a connected cluster."""

    def __init__(self, workload: W, data: Path) -> None:
        self.workload = workload
        self.data = data
        self.output = data / OUTPUT

    @abstractmethod
    def run(self) -> None:
        """Does the job and returns when all output is written; any exception means that it failed."""

    def report_started(self) -> None:
        """Reports that load begins now. The device is what the head suggests; workers record their own."""
        device = "cuda" if any(Path("/dev").glob("nvidia[0-9]*")) else "cpu"
        report(WorkloadStarted(workload=self.workload.name, rows_total=self.workload.rows_total, device=device))

    def report_demand(self, shape: Resources, count: int) -> None:
        """Reports that the job from now on wants `count` bundles of `shape` at once."""
        report(DemandChanged(bundles=(Demand(shape=shape, count=count),) if count else ()))


def main(driver: type[Driver[W]], kind: type[W], arguments: Sequence[str] | None = None) -> int:
    """Runs a driver to its end; the exit status is 0 when the job is done and 1 when it failed or was stopped."""
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_stop_at_end_of_input, name="stdin", daemon=True).start()
    status, connected = 1, False
    try:
        workload = parse_workload(kind, argument_parser(driver.__doc__).parse_args(arguments).params)
        job = driver(workload, data_directory())
        _connect()
        connected = True
        job.run()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is done; being stopped now would change nothing
        report(WorkloadFinished(outcome="ok"))
        status = 0
    except Stopped:
        report(WorkloadFinished(outcome="interrupted", error="the runner ended, or stopped the driver"))
    except ChaosError as error:
        report(WorkloadFinished(outcome="failed", error=str(error)))
    except Exception as error:  # noqa: BLE001 - whatever the job raises is the result we report
        traceback.print_exc()
        report(WorkloadFinished(outcome="failed", error=_summary(error)))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _exit_within(END_LIMIT_S, status)
        if connected:
            _disconnect()
    return status


def _connect() -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without it Ray warns in every driver that it will one day leave CUDA_VISIBLE_DEVICES alone for num_gpus=0.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ray.init(
        address=setting(ADDRESS_VARIABLE),
        _node_ip_address=setting(NODE_IP_VARIABLE),
        log_to_driver=False,
        logging_level="WARNING",
    )
    signal.signal(signal.SIGTERM, _stop)  # ray.init puts its own handler there


def _disconnect() -> None:
    """Withdraws whatever was asked of the autoscaler, then leaves the cluster."""
    import ray
    from ray.autoscaler.sdk import request_resources

    try:
        request_resources(bundles=[])
        ray.shutdown()
    except Exception:  # noqa: BLE001 - how the job ended stands; a GCS that is gone holds no demand either
        traceback.print_exc()


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _exit_within(STOP_LIMIT_S, 1)
    raise Stopped


def _stop_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    # To the main thread by name: a signal that another thread takes does not wake the main one from a wait.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _exit_within(limit_s: float, status: int) -> None:
    """Ends this process after `limit_s` seconds if it has not ended by then."""
    timer = threading.Timer(limit_s, os._exit, (status,))
    timer.daemon = True
    timer.start()


def _summary(error: Exception) -> str:
    """The error's type and text, of a long text the end; the last line is the root cause, which Ray tells first."""
    text = _COLOURS.sub("", f"{type(error).__name__}: {error}").strip()
    first, chained, _ = text.partition(_CHAINED)
    if chained:
        text += "\n" + first.strip().splitlines()[-1].strip()
    return text if len(text) <= _ERROR_CHARACTERS else "…" + text[-_ERROR_CHARACTERS:]
