"""What all inference workloads share: which rows, which model, how long a batch takes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from chaos.drawn import Drawn
from chaos.workload import Workload
from workloads.sizes import ModelSize


class InferenceWorkload(Workload):
    """Rows `0 … rows_total - 1` through a seeded vision transformer, `batch_rows` at a time.

    `size` is the model's; `large` is ViT-B/16, in earnest for CUDA only, the oracle's machine included: a CPU core
    needs half a second a row. `device_ms_per_batch` is the least time a batch takes on a node without CUDA; with CUDA
    it is ignored. `on_device_error` is what a worker does whose GPU fails: `exit`, as after a real CUDA error nothing
    in the process can use the GPU again, so that Ray starts another and repeats the batch; or `raise` what torch
    raised, which fails the job. `no_progress_timeout_s` is the job's own backstop: it fails when nothing moves for
    that long.
    """

    # Pydantic before 2.10 keeps all names that begin with `model_` for itself.
    model_config = ConfigDict(protected_namespaces=())

    verify_module: ClassVar[str] = "workloads.verify"

    batch_rows: int = Field(default=32, ge=1, le=65536)
    size: ModelSize = "tiny"
    model_seed: int = Field(default=0, ge=0, lt=2**63)
    num_gpus: float = Field(default=1.0, gt=0.0)
    device_ms_per_batch: Annotated[float, Drawn(among=(1000.0, 300.0, 3000.0))] = Field(default=1000.0, ge=0.0)
    on_device_error: Literal["exit", "raise"] = "exit"
    no_progress_timeout_s: float = Field(default=300.0, gt=0.0)
