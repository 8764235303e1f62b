"""
`make test-deb`: the package, as an operator of a Debian host meets it, under a real systemd in a bare tree of each release.

It is built in a tree of that release. Then, in a copy of a bare one: installed by apt, one file is edited, the port is enabled, a VM is
migrated, the package is upgraded, removed and purged; and nothing is left. The tree and what it takes are fetched once, into the cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.cache import CACHE, LAB
from lab.deb import release
from lab.systemd import Systemd
from lab.version import version

PROJECT = LAB.parent


def main(suites: list[str]) -> int:
    for suite in suites:
        packages = build(suite)
        subprocess.run([LAB / "tree.sh", f"bare-{suite}", "true"], check=True)
        with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as directory:
            use(suite, Path(directory), packages)
        print(f"Debian's {suite}: {packages[1].name} is installed, upgraded, used, removed and purged, and nothing is left")
    return 0


def build(suite: str) -> tuple[Path, Path]:
    """The package for that release, and before it an older one, which differs in its version only."""
    here = release("VERSION_CODENAME") == suite
    tree = PROJECT if here else CACHE / suite / "srv/nbdtun"
    command: list[str | Path] = ["make", "deb"] if here else [LAB / "tree.sh", suite, "make", "deb", f"VERSION={version()}"]
    subprocess.run(command, cwd=PROJECT, check=True)
    made = max((tree / "build").glob("nbdtun_*.deb"), key=lambda path: path.stat().st_mtime)
    return older(made, suite), made


def older(newer: Path, suite: str) -> Path:
    """A package that differs in its version only, for an upgrade."""
    tree, package = PROJECT / "build/older", PROJECT / f"build/older-{suite}.deb"
    shutil.rmtree(tree, ignore_errors=True)
    tree.parent.mkdir(exist_ok=True)  # nothing was built in this checkout if it is of another release
    subprocess.run(["dpkg-deb", "--raw-extract", newer, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 0.0.1~"))
    subprocess.run(["dpkg-deb", "-Znone", "--build", "--root-owner-group", tree, package], check=True, stdout=subprocess.DEVNULL)
    return package


def use(suite: str, directory: Path, packages: tuple[Path, Path]) -> None:
    """All that an operator does with it; the rest of this happens in the host, by its own Python."""
    with Systemd(directory, CACHE / f"bare-{suite}", shared_network=True) as host:
        proxy = [f"{name}={os.environ[name]}" for name in ("http_proxy", "https_proxy") if name in os.environ]
        place = ["env", f"--chdir={PROJECT}", "PYTHONDONTWRITEBYTECODE=1", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", *proxy]
        subprocess.run(host.command([*place, "/usr/bin/python3", "-m", "lab.deb_operator", *packages]), check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
