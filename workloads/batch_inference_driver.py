"""The Ray Data pipeline of `batch_inference`.

Why the output holds every row once although tasks are retried: a row leaves the pipeline through one write task, and
Ray Data names that task's file after the write and the task's index, not after the attempt. So when a node dies in a
write, the attempt that follows overwrites what the first one left. The file is written in place; a reader that opens it
between the two attempts, or after a job that failed, may find it torn.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.batch_inference import BatchInference
from workloads.checkpoint import Checkpoint
from workloads.driver import main
from workloads.images import CHANNELS, halve, make_images
from workloads.inference_driver import InferenceDriver
from workloads.predictor import Columns
from workloads.sizes import SHAPES

if TYPE_CHECKING:
    import ray.data


class BatchInferenceDriver(InferenceDriver[BatchInference]):
    """Runs a batch_inference workload on the Ray cluster that the environment names."""

    def run(self) -> None:
        """Builds the pipeline and runs it to its last file."""
        import ray.data

        workload = self.workload
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_no_progress_timeout_s = workload.no_progress_timeout_s
        if workload.source == "parquet":
            self._write_input()
        checkpoint = Checkpoint(self.data / "checkpoint", self.output) if workload.driver_restarts else None
        if checkpoint is not None:
            context.checkpoint_config = checkpoint.config(self._id_column)
            context.use_datasource_v2 = False  # for reading the checkpoint; see _images
        self.report_started()
        self.report_demand({"GPU": workload.num_gpus}, workload.actors_at_start)
        results = self._images().map_batches(
            self.predictor,
            fn_constructor_kwargs=self.predictor_arguments(),
            batch_size=workload.batch_rows,
            batch_format="numpy",
            num_cpus=0,
            num_gpus=workload.num_gpus,
            compute=ray.data.ActorPoolStrategy(
                min_size=workload.min_actors, max_size=workload.max_actors, initial_size=workload.actors_at_start
            ),
        )
        if checkpoint is not None and self._id_column != "row_id":
            results = results.map_batches(
                _copy_row_id,
                fn_kwargs={"name": self._id_column},
                batch_format="pyarrow",
                batch_size=None,
                compute=ray.data.TaskPoolStrategy(workload.cpu_tasks),  # as the write's, which it becomes a part of
            )
        results.write_parquet(str(self.output), concurrency=workload.cpu_tasks)
        self.report_demand({}, 0)
        if checkpoint is not None:
            checkpoint.drop_uncommitted()

    def _images(self) -> ray.data.Dataset:
        """Preprocessed images, a batch to a block."""
        import ray.data

        workload = self.workload
        blocks = -(-workload.rows // workload.batch_rows)
        # The same concurrency for all, so that Ray Data fuses them into one task a block.
        mapped: dict[str, Any] = {"compute": ray.data.TaskPoolStrategy(workload.cpu_tasks), "batch_size": None}
        side_px = {"side_px": SHAPES[workload.size].source_side_px}
        if workload.source == "parquet":
            # The reader that is 2.60's default packs all these files into one block, and its listing floods the
            # autoscaler with tasks: four nodes were launched where two were wanted.
            ray.data.DataContext.get_current().use_datasource_v2 = False
            rows = ray.data.read_parquet(str(self._input), override_num_blocks=blocks, concurrency=workload.cpu_tasks)
            images = rows.map_batches(_decode_images, fn_kwargs=side_px, batch_format="pyarrow", **mapped)
        else:
            rows = ray.data.range(workload.rows, override_num_blocks=blocks, concurrency=workload.cpu_tasks)
            images = rows.map_batches(_generate_images, fn_kwargs=side_px, batch_format="numpy", **mapped)
        return images.map_batches(_preprocess, batch_format="numpy", **mapped)

    @property
    def _id_column(self) -> str:
        """What the rows' ids are called where they are read: Ray Data's checkpoint wants that name in the output."""
        return "row_id" if self.workload.source == "parquet" else "id"

    @property
    def _input(self) -> Path:
        return self.data / "input"

    def _write_input(self) -> None:
        """Writes the images as Parquet, a batch to a file."""
        import pyarrow as pa
        import pyarrow.parquet

        self._input.mkdir(parents=True, exist_ok=True)
        side_px = SHAPES[self.workload.size].source_side_px
        for first in range(0, self.workload.rows, self.workload.batch_rows):
            row_ids = np.arange(first, min(first + self.workload.batch_rows, self.workload.rows), dtype=np.int64)
            images = [image.tobytes() for image in make_images(row_ids, side_px=side_px)]
            table = pa.table({"row_id": row_ids, "image": pa.array(images, type=pa.binary())})
            pyarrow.parquet.write_table(table, self._input / f"rows-{first:09d}.parquet")


def _generate_images(batch: Columns, *, side_px: int) -> Columns:
    row_ids = np.asarray(batch["id"], dtype=np.int64)
    return {"row_id": row_ids, "image": make_images(row_ids, side_px=side_px)}


def _decode_images(table: Any, *, side_px: int) -> Columns:
    row_ids = np.asarray(table["row_id"].to_numpy(), dtype=np.int64)
    pixels = np.frombuffer(b"".join(table["image"].to_pylist()), dtype=np.uint8)
    return {"row_id": row_ids, "image": pixels.reshape(len(row_ids), side_px, side_px, CHANNELS)}


def _copy_row_id(table: Any, *, name: str) -> Any:
    return table.append_column(name, table["row_id"])


def _preprocess(batch: Columns) -> Columns:
    return {"row_id": batch["row_id"], "image": halve(np.asarray(batch["image"], dtype=np.uint8))}


if __name__ == "__main__":
    # What workers run must be found there by module and name, so not in `__main__`.
    from workloads.batch_inference_driver import BatchInferenceDriver as Importable

    sys.exit(main(Importable, BatchInference))
