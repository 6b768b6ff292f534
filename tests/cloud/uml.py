"""Becomes a user-mode Linux kernel, on the C library of its own Debian; to be run in a mount namespace of its own.

    unshare --mount python -m tests.cloud.uml DIRECTORY [ARGUMENT ...]

DIRECTORY holds the unpacked packages user-mode-linux and libc6 of one suite. The kernel sees this machine's files with
that C library in place of the machine's: programs made for an older one run on a newer.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
_MS_BIND = 4096


def main(directory: Path, arguments: list[str]) -> None:
    """Puts the libraries in place, all before the next program starts, and does not return."""
    kernel = ctypes.CDLL(None, use_errno=True)
    for library in sorted((directory / _LIBRARIES).glob("*.so*")):
        place = Path("/", _LIBRARIES, library.name)
        regular = library.is_file() and not library.is_symlink() and place.is_file() and not place.is_symlink()
        if regular and kernel.mount(os.fsencode(library), os.fsencode(place), None, _MS_BIND, None):
            raise OSError(ctypes.get_errno(), f"{place} cannot be replaced")
    os.execv(directory / "usr/bin/linux.uml", ["linux.uml", *arguments])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
