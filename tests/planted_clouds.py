"""A Cloud with a planted defect, for the tool to find.

python -m tests.planted_clouds DIRECTORY
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from chaos.cloud.config import CloudDirectory
from chaos.cloud.core import Cloud
from chaos.cloud.server import serve


class LeakyCloud(Cloud):
    """Acknowledges every termination and carries none out."""

    async def terminate(self, instance_id: str) -> None:
        """Does nothing."""


if __name__ == "__main__":
    asyncio.run(serve(CloudDirectory(Path(sys.argv[1])), kind=LeakyCloud))
