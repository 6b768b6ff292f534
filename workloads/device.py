"""The device boundary: the one place where a workload hands work to the GPU, and where device faults are done to it.

Which faults are in force the node's Cloud says, in the file that RAYCHAOS_DEVICE_FAULTS names: a JSON list of mappings
with `mode` and `factor`. On CUDA three of them are real: memory is exhausted by asking the allocator for more than
any GPU has, a hang is a kernel that spins, and slow work is done over again. What a CPU cannot do, and no program can
do to a GPU that works (`ecc_error`, `lost`), is stood in for: the boundary raises what torch raises, in CUDA's words.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

DEVICE_FAULTS_VARIABLE = "RAYCHAOS_DEVICE_FAULTS"
STAND_IN = "raychaos stands in for the device"

_POLL_S = 0.05
_MORE_THAN_ANY_GPU_BYTES = 2**50
_SPIN_CYCLES = 50_000_000
_CUDA_ERROR = "CUDA error"
_WORDS = {
    "out_of_memory": "CUDA out of memory. Tried to allocate more than there is.",
    "ecc_error": "CUDA error: uncorrectable ECC error encountered",
    "lost": "CUDA error: unknown error. The GPU has fallen off the bus.",
}

T = TypeVar("T")


class DeviceFailed(Exception):
    """The device failed a call; `cause` is what torch raised, or would have."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class InForce(NamedTuple):
    """A device fault in force on this node."""

    mode: str
    factor: float


class DeviceBoundary:
    """Carries out work on the device, under whatever faults are in force on this node."""

    def __init__(self, torch: Any, *, cuda: bool) -> None:
        self._torch = torch
        self._cuda = cuda
        named = os.environ.get(DEVICE_FAULTS_VARIABLE)
        self._file = Path(named) if named else None

    def run(self, work: Callable[[], T]) -> T:
        """The work's result.

        Raises:
            DeviceFailed: the device failed it, really or by a fault in force.
        """
        while any(fault.mode == "hang" for fault in self.in_force()):
            self._hang()
        faults = self.in_force()
        for fault in faults:
            if fault.mode in _WORDS:
                raise DeviceFailed(self._failure(fault.mode))
        try:
            return self._slowly(work, max((fault.factor for fault in faults if fault.mode == "slow"), default=1.0))
        except RuntimeError as error:
            if isinstance(error, self._torch.OutOfMemoryError) or _CUDA_ERROR in str(error):
                raise DeviceFailed(error) from error
            raise

    def in_force(self) -> tuple[InForce, ...]:
        """The faults in force now; none where nobody says."""
        if self._file is None:
            return ()
        try:
            entries = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return ()
        return tuple(InForce(str(entry["mode"]), float(entry["factor"])) for entry in entries)

    def _failure(self, mode: str) -> BaseException:
        """What torch raises then: by really provoking it where that can be, else made here."""
        if mode == "out_of_memory" and self._cuda:
            try:
                self._torch.empty(_MORE_THAN_ANY_GPU_BYTES, dtype=self._torch.uint8, device="cuda")
            except RuntimeError as error:
                return error
        kind = self._torch.OutOfMemoryError if mode == "out_of_memory" else _accelerator_error(self._torch)
        failure: BaseException = kind(f"{_WORDS[mode]} ({STAND_IN})")
        return failure

    def _hang(self) -> None:
        """A little of a hang; it lasts as long as the fault."""
        if self._cuda:
            self._torch.cuda._sleep(_SPIN_CYCLES)
            self._torch.cuda.synchronize()
        else:
            time.sleep(_POLL_S)

    def _slowly(self, work: Callable[[], T], factor: float) -> T:
        began_s = time.monotonic()
        result = work()
        until_s = began_s + (time.monotonic() - began_s) * factor
        while time.monotonic() < until_s:
            if self._cuda:
                work()
            else:
                time.sleep(max(0.0, min(_POLL_S, until_s - time.monotonic())))
        return result


def _accelerator_error(torch: Any) -> type[BaseException]:
    """What torch raises for a CUDA error: since 2.8 a class of its own."""
    kind: type[BaseException] = getattr(torch, "AcceleratorError", RuntimeError)
    return kind
