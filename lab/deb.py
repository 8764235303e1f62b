"""
`make deb`: build/nbdtun_VERSION_ARCH.deb, for the Debian release that this is run on, by debhelper and dh-virtualenv.

The version is that of the tag at HEAD. Elsewhere it is one before the next release: the release's, the date and the commit. Debian's
release is a part of it, `~deb12`: the package is for one minor version of Python, and the next Debian's replaces it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path

from lab.cache import LAB
from nbdtun import __version__

PROJECT = LAB.parent
BUILD = PROJECT / "build"
SOURCE = BUILD / "deb"
_LINTIAN = ("lintian", "--fail-on", "error", "--allow-root", "--tag-display-limit", "0")


def release(key: str) -> str:
    """What this system says of its release: `VERSION_ID` is 12, `VERSION_CODENAME` is bookworm."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)[key].strip('"')


def version() -> str:
    """The project's version: `0.1.0`, or `0.1.0~git20261130.1a2b3c4`. A copy without its history is told it by `VERSION`."""
    if told := os.environ.get("VERSION"):
        return told
    if _git("tag", "--points-at", "HEAD", "--list", f"v{__version__}"):
        return __version__
    return f"{__version__}~git{_git('log', '-1', '--format=%cd.%h', '--date=format:%Y%m%d')}"


def _git(*words: str) -> str:
    """What git says of this checkout."""
    command = ["git", "-c", f"safe.directory={PROJECT}", *words]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()


def copy(full: str) -> None:
    """The files of the checkout, with a changelog for Debian, which names ours, for the `full` version."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for name in ("nbdtun", "twisted", "docs", "systemd", "examples", "debian"):
        shutil.copytree(PROJECT / name, SOURCE / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy2(PROJECT / name, SOURCE)
    control = (PROJECT / "debian/control").read_text()
    maintainer = control.partition("Maintainer: ")[2].partition("\n")[0]
    when = formatdate((SOURCE / "CHANGELOG.md").stat().st_mtime)
    entry = f"nbdtun ({full}) stable; urgency=medium\n\n  * See changelog.gz, which is the project's.\n\n -- {maintainer}  {when}\n"
    (SOURCE / "debian/changelog").write_text(entry)


def main() -> int:
    full = f"{version()}~deb{release('VERSION_ID')}"
    copy(full)
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
