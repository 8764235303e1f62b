"""`python3 -m lab.deb_operator OLDER.deb NEWER.deb`: an operator of a bare Debian host, who installs, uses, upgrades, removes and purges.

The upgrade comes while a VM moves, and costs it nothing. For a host of `lab.systemd`. It needs nothing but Python and QEMU, as an
operator's host has them.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import guest, units
from lab.crossing import VM, certificates
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.process import wait
from lab.prometheus import scrape
from lab.units import DEST, MIGRATE, SOCKET, systemctl

PKI = Path("/etc/pki/qemu")
METRICS = 9810
"""The port in the file that the package brings."""

#: What apt, dpkg and the host itself write, whatever is installed.
_OTHERS = ("var/lib/apt", "var/cache", "var/log", "var/lib/dpkg", "run", "tmp", "proc", "sys", "dev")
_OTHERS_TOO = ("var/lib/systemd", "var/tmp", "srv", "usr/share/mime", "root", "etc/mtab", "var/lib/dbus")


def main(older: str, newer: str) -> int:
    before = files()
    apt("install", older)
    read()
    assert systemctl_says("is-enabled", SOCKET) == systemctl_says("is-enabled", DEST) == "disabled"
    with moving("--bandwidth", "512KiB") as pair:
        systemctl("enable", "--now", SOCKET)
        socket.create_connection(("127.0.0.1", 10810)).close()  # the daemon starts
        units.wait_status(DEST, "nothing under way")
        systemctl("start", MIGRATE)  # it returns when disks are copied
        upgrade(newer, pair)
        arrived(pair)
        assert "link lost" not in units.journal(MIGRATE)
        assert "Traceback" not in units.journal(DEST)
    with moving() as pair:
        systemctl("reload", DEST)  # the VM has another monitor now
        systemctl("start", "--wait", MIGRATE)
        arrived(pair)
        scraped()
    completed()
    apt("remove", "nbdtun")
    assert systemctl_says("is-active", SOCKET) == "inactive"
    assert not Path("/usr/bin/nbdtun").exists()
    assert Path("/etc/nbdtun/dest.toml").exists()
    shutil.rmtree(PKI.parent)  # what is the operator's own
    (units.OPTIONS / f"migrate-{VM}.env").unlink()
    apt("purge", "nbdtun")
    left = sorted(files() - before)
    assert left == [], left
    return 0


def apt(*words: str) -> None:
    """Run apt-get, which asks nothing."""
    subprocess.run(["apt-get", "-y", "-q", "--no-install-recommends", *words], check=True, stdout=subprocess.DEVNULL)


def systemctl_says(*words: str) -> str:
    """What it says, whatever its status."""
    return subprocess.run(["systemctl", *words], capture_output=True, text=True).stdout.strip()


def read() -> None:
    """Every manual is there for man, and systemd finds those that the units name; it has nothing else to say of them."""
    for name in ("nbdtun", "nbdtun-migrate", "nbdtun-dest.toml", "nbdtun-errors", "twistd-nbdtun-dest"):
        shown = subprocess.run(["man", "--warnings", name], capture_output=True, text=True, check=True)
        assert "nbdtun" in shown.stdout
        assert shown.stderr == ""
    with gzip.open("/usr/share/doc/nbdtun/changelog.gz", "rt") as changes:
        assert changes.readline() == "# Changelog\n"
    installed = sorted(f"{path}" for path in Path("/usr/lib/systemd/system").glob("nbdtun-*"))
    verified = subprocess.run(["systemd-analyze", "verify", *installed], capture_output=True, text=True)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, ""), verified.stderr


@contextmanager
def moving(*options: str) -> Iterator[Pair]:
    """A VM that ticks, and the QEMU that waits for it, as the files say; the migration has these options besides."""
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/srv") as place, Pair(Path(place), guest.build(), [Plan(32 * MIB)]) as pair:
        pair.source.wait_ticks(5)
        edit(pair, *options)
        yield pair


def arrived(pair: Pair) -> None:
    """Its guest runs on at the destination, with all that it ever wrote."""
    pair.destination.wait_ticks(5)
    pair.source.wait_exit()
    assert pair.faults() == []


def edit(pair: Pair, *options: str) -> None:
    """One file for the destination, and one for the migration."""
    if not PKI.exists():
        certificates(PKI)
    file = units.OPTIONS / "dest.toml"
    lines = re.sub(r'^vm = \[".*"\]$', f'vm = ["{VM}={pair.destination.qmp_path}"]', file.read_text(), flags=re.MULTILINE)
    file.write_text(lines.replace("# metrics = ", "metrics = "))
    subprocess.run(["nbdtun", "config", "check", file], check=True, stdout=subprocess.DEVNULL)
    words = ["--qmp", f"{pair.source.qmp_path}", "--to", "127.0.0.1", "--tls-dir", f"{PKI}", *options]
    (units.OPTIONS / f"migrate-{VM}.env").write_text(f"OPTIONS={' '.join(words)}\n")


def scraped() -> None:
    """
    Prometheus would find both migrations in the daemon's metrics, also the one that the program before the upgrade has ended; promtool is
    not on this host.
    """
    wait(lambda: 'nbdtun_migrations_ended_total{outcome="completed",phase="finish"} 2.0' in scrape(METRICS), 10, "the migrations' ends")
    page = scrape(METRICS)
    assert 'nbdtun_channels_ended_total{outcome="complete",target="nbd"} 2.0' in page
    assert "nbdtun_migration_downtime_seconds_count 2.0" in page
    assert 'nbdtun_certificate_expiry_timestamp_seconds{file="server-cert.pem"}' in page
    assert scrape(METRICS, "/readyz") == "ok\n"
    assert "NbdtunNoLink" in Path("/usr/share/nbdtun/nbdtun.rules.yml").read_text()


def upgrade(newer: str, pair: Pair) -> None:
    """The edited file stays, and the daemon is another one. The one of before has the VM that moves to the end."""
    before = units.show(DEST, "MainPID")
    apt("install", newer)
    assert units.show(DEST, "MainPID") != before
    assert Path(f"/proc/{before}").exists()
    assert f"{VM}=" in (units.OPTIONS / "dest.toml").read_text()
    assert (units.show(MIGRATE, "ActiveState"), pair.running()) == ("active", [pair.source])
    subprocess.run(["nbdtun", "set", VM, "--bandwidth", "none"], check=True, stdout=subprocess.DEVNULL)
    wait(lambda: units.show(MIGRATE, "ActiveState") != "active", 120, "the end of the migration")
    assert (units.show(MIGRATE, "Result"), units.show(DEST, "NRestarts")) == ("success", "0")


def completed() -> None:
    """bash asks for the commands, once it has loaded the completion from where the package has put it."""
    ask = "COMP_WORDS=(nbdtun mig); COMP_CWORD=1; _nbdtun_completion nbdtun mig nbdtun; echo ${COMPREPLY[*]}"
    script = f"source /usr/share/bash-completion/completions/nbdtun; {ask}"
    asked = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert asked.stdout == "migrate\n", asked


def files() -> set[str]:
    """All of the host's files and directories but those that others write; other mounts, such as this checkout, are no part of it."""
    found = set()
    for place, below, names in os.walk("/"):
        paths = {name: Path(place, name) for name in below}
        below[:] = [name for name, path in paths.items() if not path.is_mount() and not f"{path}"[1:].startswith((*_OTHERS, *_OTHERS_TOO))]
        found |= {os.path.join(place, name) for name in (*below, *names)}
    return {path for path in found if ("__pycache__" not in path or "nbdtun" in path) and path != "/etc/ld.so.cache"}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
