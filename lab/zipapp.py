"""
`make zipapp`: build/nbdtun.pyz, one file with nbdtun and all that it requires, for Python 3.11 to 3.14.

The wheels are those that pip chooses for each Python, and for a glibc that is old enough for all of them; they are kept in the cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from lab.cache import CACHE, LAB, locked
from lab.pythons import VERSIONS

PROJECT = LAB.parent
WHEELS = CACHE / "wheels"
TARGET = PROJECT / "build" / "nbdtun.pyz"

#: manylinux_2_28 is Debian 11, Ubuntu 20.04, RHEL 8 and later.
PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux1")
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")


def main() -> int:
    with locked():
        shutil.rmtree(WHEELS, ignore_errors=True)
        WHEELS.mkdir(parents=True)
        for part in ("lib", f"bdist.linux-{os.uname().machine}"):  # what an earlier build left would go in again
            shutil.rmtree(PROJECT / "build" / part, ignore_errors=True)
        subprocess.run([*_PIP, "wheel", "--no-deps", "-w", WHEELS, PROJECT], check=True)
        (ours,) = WHEELS.glob("nbdtun-*.whl")
        machine = os.uname().machine
        platforms = [f"--platform={name}_{machine}" for name in PLATFORMS]
        for version in VERSIONS:
            chosen = ["--only-binary=:all:", f"--python-version={version}", *platforms, f"--dest={WHEELS}"]
            subprocess.run([*_PIP, "download", *chosen, ours], check=True)
        subprocess.run([sys.executable, "-m", "nbdtun.reach.pushing.pack", TARGET, *sorted(WHEELS.glob("*.whl"))], check=True)
    print(f"{TARGET.relative_to(PROJECT)}: {TARGET.stat().st_size / 2**20:.1f} MiB, for Python {', '.join(VERSIONS)} on {machine}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
