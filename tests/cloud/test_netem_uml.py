"""The same measurements on a kernel that has netem: Debian's user-mode Linux, booted over this machine's files.

What is proven where the machine's own kernel has no netem: that both ways of impairing packets mean the same.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cloud.netns import why_not

ROOT = Path(__file__).parent.parent.parent
# Where `.ci/prepare` has unpacked it.
UNPACKED = os.environ.get("RAYCHAOS_UML", "")
NEEDED = "sch_netem sch_prio sch_tbf sch_ingress ifb veth act_mirred cls_u32 nf_tables nft_compat"
LIMIT_S = 240.0
BOOTED = "raychaos: booted"
INIT = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={root}
echo '{booted}'
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /run
mkdir -p /run/lib/modules; ln -s "{modules}/$(uname -r)" /run/lib/modules/
for module in {needed}; do modprobe --dirname /run "$module"; done
ip link set lo up
cd {root}
{python} -m pytest -q --color=no -p no:cacheprovider --basetemp=/run/pytest tests/cloud/test_network_kernel.py
echo o > /proc/sysrq-trigger; sleep 9
"""


def why_no_uml() -> str:
    """Why it cannot be booted here; empty where it may be tried."""
    if not UNPACKED:
        return "needs RAYCHAOS_UML, where .ci/prepare has unpacked a user-mode Linux"
    missing = [tool for tool in ("unshare", "modprobe") if shutil.which(tool) is None]
    return why_not() or (f"needs {' and '.join(missing)} (Debian: util-linux, kmod)" if missing else "")


@pytest.mark.live
@pytest.mark.skipif(bool(why_no_uml()), reason=why_no_uml())
def test_netem_does_what_was_asked(tmp_path: Path) -> None:
    init = tmp_path / "init"
    init.write_text(
        INIT.format(
            root=ROOT,
            booted=BOOTED,
            modules=Path(UNPACKED, "usr/lib/uml/modules"),
            needed=NEEDED,
            python=sys.executable,
        )
    )
    init.chmod(0o755)
    command = ["unshare", "--mount", sys.executable, "-m", "tests.cloud.uml", UNPACKED]
    kernel = ["mem=1G", "rootfstype=hostfs", "rootflags=/", "rw", f"init={init}", "con=null", "con0=fd:0,fd:1"]
    done = subprocess.run(
        [*command, *kernel, f"uml_dir={tmp_path}"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    if BOOTED not in done.stdout:
        # One may not know the registers of this machine's processor.
        said = [line for line in done.stdout.splitlines() if "panic" in line or "ptrace" in line]
        pytest.skip(f"user-mode-linux does not run on this machine: {'; '.join(said) or 'it said nothing'}")
    told = re.search(r"^(?:(\d+) failed, )?(\d+) passed", done.stdout, re.MULTILINE)
    assert told is not None, done.stdout
    assert told.group(1) is None, done.stdout
    assert int(told.group(2)) >= 8, done.stdout
