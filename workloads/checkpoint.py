"""Ray Data's checkpoint, made safe for a driver that dies at any moment and for tasks that outlive it.

Ray Data 2.60 writes `<task>.pending.parquet` with the ids of a write task's rows, then the rows to `<task>-0.parquet`,
then renames the first to `<task>.parquet`. A driver started again deletes the rows of all pending tasks, reads the ids
of all committed ones, and skips those. Three things it leaves open are closed here:

- A task of the dead driver may live on, on a node that was paused or cut off, and write after that clean-up. So each
  driver moves the checkpoint to a directory of its own first: what outlives its driver can commit nothing any more.
- What such a task still wrote belongs to no committed task. So such files are dropped when the job is done.
- A write task is repeated when its node dies after the commit; then a pending file lies beside the committed one, and
  the rows may be torn. Ray deletes such rows yet goes on to skip them. So the commit is taken back first.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.errors import ChaosError

if TYPE_CHECKING:
    from ray.data.checkpoint import CheckpointConfig

_PENDING = ".pending.parquet"
_FILTER_MEMORY_BYTES = 64 * 1024**2


class Checkpoint:
    """The checkpoint of one run under `root`; its committed tasks are the only ones whose files in `output` count."""

    def __init__(self, root: Path, output: Path) -> None:
        self._output = output
        root.mkdir(parents=True, exist_ok=True)
        earlier = list(root.iterdir())
        if len(earlier) > 1:
            raise ChaosError(f"{root} holds {len(earlier)} checkpoints; another driver of this run is alive")
        self.path = root / uuid.uuid4().hex
        if earlier:
            earlier[0].rename(self.path)
            self._take_back_repeated()
        else:
            self.path.mkdir()

    def config(self, id_column: str) -> CheckpointConfig:
        """What Ray Data is told; `id_column` must be in the rows read and in the rows written."""
        from ray.data.checkpoint import CheckpointConfig

        # Kept on success: a driver that dies between the last row and its last word is started again too.
        config = CheckpointConfig(id_column, str(self.path), delete_checkpoint_on_success=False)
        # Ray's defaults are up to ten filtering actors of 1 GiB each; small nodes cannot hold one.
        config.checkpoint_actor_pool_max_size = 1
        config.checkpoint_actor_memory_bytes = _FILTER_MEMORY_BYTES
        return config

    def drop_uncommitted(self) -> int:
        """Deletes the output of tasks that were never committed; says how many files."""
        committed = {path.stem for path in self.path.glob("*.parquet") if not path.name.endswith(_PENDING)}
        dropped = [path for path in self._output.glob("*.parquet") if path.stem.rpartition("-")[0] not in committed]
        for path in dropped:
            path.unlink()
        if dropped:
            print(f"dropped {len(dropped)} files of tasks that outlived their driver: {dropped[0].name}, …", flush=True)
        return len(dropped)

    def _take_back_repeated(self) -> None:
        for pending in self.path.glob(f"*{_PENDING}"):
            pending.with_name(pending.name.removesuffix(_PENDING) + ".parquet").unlink(missing_ok=True)
