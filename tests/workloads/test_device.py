"""The device boundary does what the faults in force say, in torch's own words."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from workloads.device import DEVICE_FAULTS_VARIABLE, STAND_IN, DeviceBoundary, DeviceFailed
from workloads.oplog import DIRECTORY
from workloads.predictor import DEVICE_ERROR_STATUS, OnDeviceError, Predictor

LIMIT_S = 20.0


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "device-faults.json"
    monkeypatch.setenv(DEVICE_FAULTS_VARIABLE, str(path))
    return path


def in_force(path: Path, mode: str, factor: float = 1.0) -> None:
    path.write_text(json.dumps([{"kind": "device_fault", "mode": mode, "factor": factor}]))


def test_without_faults_work_is_done(faults: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert DeviceBoundary(torch, cuda=False).run(lambda: 7) == 7
    monkeypatch.delenv(DEVICE_FAULTS_VARIABLE)
    assert DeviceBoundary(torch, cuda=False).run(lambda: 8) == 8


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("out_of_memory", torch.OutOfMemoryError, "CUDA out of memory"),
        ("ecc_error", torch.AcceleratorError, "CUDA error: uncorrectable ECC error"),
        ("lost", torch.AcceleratorError, "CUDA error: unknown error"),
    ],
)
def test_a_failing_device_raises_what_torch_raises(
    faults: Path, mode: str, kind: type[BaseException], words: str
) -> None:
    boundary = DeviceBoundary(torch, cuda=False)
    in_force(faults, mode)
    with pytest.raises(DeviceFailed, match=words) as caught:
        boundary.run(lambda: pytest.fail("the work was begun"))
    assert type(caught.value.cause) is kind
    assert STAND_IN in str(caught.value)
    faults.unlink()
    assert boundary.run(lambda: 7) == 7


def test_slow_work_takes_that_many_times_as_long(faults: Path) -> None:
    in_force(faults, "slow", 4.0)
    began_s = time.monotonic()
    took: list[float] = []

    def work() -> None:
        inner_s = time.monotonic()
        threading.Event().wait(0.05)
        took.append(time.monotonic() - inner_s)

    DeviceBoundary(torch, cuda=False).run(work)
    assert time.monotonic() - began_s >= 4.0 * took[0]


def test_a_hang_lasts_as_long_as_the_fault(faults: Path) -> None:
    in_force(faults, "hang")
    ended = threading.Event()

    def run() -> None:
        DeviceBoundary(torch, cuda=False).run(lambda: None)
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    assert not ended.wait(0.3)
    faults.unlink()
    assert ended.wait(LIMIT_S)


@pytest.mark.parametrize(("error", "is_device"), [("CUDA error: device-side assert", True), ("shapes differ", False)])
def test_what_torch_raises_by_itself_is_told_apart_from_the_programs_own_errors(error: str, is_device: bool) -> None:
    def work() -> None:
        raise RuntimeError(error)

    with pytest.raises(DeviceFailed if is_device else RuntimeError, match=error):
        DeviceBoundary(torch, cuda=False).run(work)


def batch() -> dict[str, np.ndarray]:
    from workloads.images import halve, make_images
    from workloads.sizes import SHAPES

    row_ids = np.arange(4, dtype=np.int64)
    return {"row_id": row_ids, "image": halve(make_images(row_ids, side_px=SHAPES["tiny"].source_side_px))}


def test_a_worker_whose_device_fails_logs_it_and_ends_or_raises(
    faults: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exited(BaseException):
        pass

    def leave(status: int) -> None:
        raise Exited(status)

    monkeypatch.setattr("workloads.predictor.os._exit", leave)
    in_force(faults, "ecc_error")
    cases: tuple[tuple[type[BaseException], OnDeviceError], ...] = (
        (Exited, "exit"), (torch.AcceleratorError, "raise"),
    )  # fmt: skip
    for kind, on_error in cases:
        worker = Predictor(
            data=str(tmp_path), size="tiny", model_seed=0, device_ms_per_batch=0.0,
            on_device_error=on_error,
        )  # fmt: skip
        with pytest.raises(kind) as caught:
            worker(batch())
        if kind is Exited:
            assert caught.value.args == (DEVICE_ERROR_STATUS,)
    (log,) = (tmp_path / DIRECTORY).iterdir()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["phase"] for line in lines] == ["invoked", "failed", "invoked", "failed"]
    assert "ECC" in lines[1]["error"]
