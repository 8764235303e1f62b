"""
`make deb`: build/nbdtun_VERSION_ARCH.deb, for the Debian release that this is run on, by debhelper and dh-virtualenv.

The version is the checkout's (`lab/version.py`). A copy without its history is told it by `VERSION`. Debian's release is a part of it,
`~deb12`: the package is for one minor version of Python, and the next Debian's replaces it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path

from lab.cache import LAB
from lab.version import debian, state, version

PROJECT = LAB.parent
BUILD = PROJECT / "build"
SOURCE = BUILD / "deb"
_LINTIAN = ("lintian", "--fail-on", "error", "--allow-root", "--tag-display-limit", "0")


def release(key: str) -> str:
    """What this system says of its release: `VERSION_ID` is 12, `VERSION_CODENAME` is bookworm."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)[key].strip('"')


def versions() -> tuple[str, str]:
    """The version, and that of the package for this release of Debian."""
    told = os.environ.get("VERSION") or version()
    return told, f"{debian(told)}~deb{release('VERSION_ID')}"


def copy(told: str, full: str) -> None:
    """The files of the checkout, which say the version; and a changelog for Debian, which names ours, for the `full` one."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for name in ("nbdtun", "twisted", "docs", "systemd", "examples", "debian"):
        shutil.copytree(PROJECT / name, SOURCE / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy2(PROJECT / name, SOURCE)
    state(told, SOURCE)
    control = (PROJECT / "debian/control").read_text()
    maintainer = control.partition("Maintainer: ")[2].partition("\n")[0]
    when = formatdate((SOURCE / "CHANGELOG.md").stat().st_mtime)
    entry = f"nbdtun ({full}) stable; urgency=medium\n\n  * See changelog.gz, which is the project's.\n\n -- {maintainer}  {when}\n"
    (SOURCE / "debian/changelog").write_text(entry)


def main() -> int:
    told, full = versions()
    copy(told, full)
    # Not this process's Python, nor its environment: the system's own.
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS")}
    environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    subprocess.run(["dpkg-buildpackage", "--no-sign", "--build=binary"], cwd=SOURCE, env=environment, check=True)
    (package,) = BUILD.glob(f"nbdtun_{full}_*.deb")
    subprocess.run([*_LINTIAN, package], check=True)
    print(package.relative_to(PROJECT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
