"""The model on one node's device, and the log of what it computed."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Literal, NoReturn, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chaos.value import Value
from workloads.device import DeviceBoundary, DeviceFailed
from workloads.images import Bytes, RowIds
from workloads.oplog import OperationLog
from workloads.sizes import CLASSES, ModelSize

Columns: TypeAlias = "dict[str, NDArray[np.generic]]"

OnDeviceError: TypeAlias = Literal["exit", "raise"]

DEVICES = "devices"
DEVICE_ERROR_STATUS = 70


class Device(Value):
    """What a worker computed on; written to `<data>/devices/<instance>-<pid>.json`."""

    device: Literal["cpu", "cuda"]
    precision: Literal["float32", "float16"]
    hardware: str


class Predictor:
    """Runs the model over batches, on CUDA with float16 autocast where there is a GPU, else on one CPU thread.

    On a CPU each batch takes at least `device_ms_per_batch` milliseconds, most of it asleep, so that throughput
    follows the number of nodes even where all of them share two cores.
    """

    def __init__(
        self,
        *,
        data: str,
        size: ModelSize,
        model_seed: int,
        device_ms_per_batch: float,
        on_device_error: OnDeviceError = "exit",
    ) -> None:
        import torch

        from workloads.model import build_model

        self._torch = torch
        self._cuda = torch.cuda.is_available()
        if not self._cuda:
            torch.set_num_threads(1)
        self._model = build_model(size, seed=model_seed).to("cuda" if self._cuda else "cpu")
        self._boundary = DeviceBoundary(torch, cuda=self._cuda)
        self._on_device_error = on_device_error
        self._device_s_per_batch = 0.0 if self._cuda else device_ms_per_batch / 1000.0
        self.data = Path(data)
        self.log = OperationLog(self.data)
        _record_device(
            self.data,
            self.log.instance,
            Device(
                device="cuda" if self._cuda else "cpu",
                precision="float16" if self._cuda else "float32",
                hardware=torch.cuda.get_device_name() if self._cuda else "CPU",
            ),
        )

    def __call__(self, batch: Columns) -> pa.Table:
        """The results of a batch of `row_id` and preprocessed `image`, logged as one operation.

        Columns: `row_id` int64, `logits` a list of `CLASSES` float32, `predicted` int32. They are plain Arrow types, so
        that whoever reads the Parquet needs no Ray.
        """
        row_ids: RowIds = np.asarray(batch["row_id"], dtype=np.int64)
        images: Bytes = np.array(batch["image"], dtype=np.uint8)  # a copy: torch wants writable memory
        with self.log.operation(row_ids.tolist()) as op:
            try:
                results = self._boundary.run(lambda: self.compute(row_ids, images))
            except DeviceFailed as failure:
                self.log.failed(op, row_ids.tolist(), str(failure))
                self._give_up(failure)
        logits = pa.FixedSizeListArray.from_arrays(pa.array(results["logits"].ravel()), CLASSES)
        return pa.table({"row_id": results["row_id"], "logits": logits, "predicted": results["predicted"]})

    def _give_up(self, failure: DeviceFailed) -> NoReturn:
        """Raises what torch raised, or ends this process: after a CUDA error nothing in it can use the GPU again."""
        if self._on_device_error == "raise":
            raise failure.cause
        print(f"this worker ends: {failure}", file=sys.stderr, flush=True)
        os._exit(DEVICE_ERROR_STATUS)

    def compute(self, row_ids: RowIds, images: Bytes) -> Columns:
        """The results of one batch as arrays, after at least the modelled time."""
        torch = self._torch
        began_s = time.monotonic()
        with torch.inference_mode():
            if self._cuda:
                with torch.autocast("cuda", dtype=torch.float16):
                    logits = self._model(torch.from_numpy(images).to("cuda", non_blocking=True))
            else:
                logits = self._model(torch.from_numpy(images))
            values: NDArray[np.float32] = logits.float().cpu().numpy()
        time.sleep(max(0.0, self._device_s_per_batch - (time.monotonic() - began_s)))
        return {"row_id": row_ids, "logits": values, "predicted": values.argmax(axis=1).astype(np.int32)}


def read_devices(data: Path) -> list[Device]:
    """What the run's workers computed on."""
    return [Device.model_validate_json(path.read_bytes()) for path in sorted((data / DEVICES).glob("*.json"))]


def _record_device(data: Path, instance: str, device: Device) -> None:
    directory = data / DEVICES
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{instance}-{os.getpid()}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(device.model_dump()), encoding="utf-8")
    part.replace(path)
