"""The product's units, installed in a host of `lab.systemd`, as they are but for where this checkout's `nbdtun` is.

Only for a process in such a host.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from lab.cache import LAB
from lab.crossing import VM
from lab.process import wait

SHIPPED = LAB.parent / "systemd"
OPTIONS = Path("/etc/nbdtun")
"""Where the units have their options."""

DEST, SOCKET, MIGRATE = "nbdtun-dest.service", "nbdtun-dest.socket", f"nbdtun-migrate@{VM}.service"

_SYSTEM = Path("/etc/systemd/system")


def install(program: Path | None = None) -> None:
    """Install them, and a `/usr/bin/nbdtun`, which is this checkout's, or another `program`."""
    command = Path("/usr/bin/nbdtun")
    command.write_text(f'#!/bin/sh\nexec {program or f"{sys.executable} -m nbdtun"} "$@"\n')
    command.chmod(0o755)
    seen = f"ProtectHome=tmpfs\nBindReadOnlyPaths={LAB.parent} {sys.base_prefix}"  # one of them may be in somebody's home
    for unit in SHIPPED.glob("nbdtun-*"):
        (_SYSTEM / unit.name).write_text(unit.read_text())
        if unit.suffix == ".service":
            drop_in(unit.name, "checkout", seen if program else f"{seen}\nEnvironment=PYTHONPATH={LAB.parent}")


def drop_in(unit: str, name: str, lines: str) -> None:
    """Change a unit, as `systemctl edit` does."""
    path = _SYSTEM / f"{unit}.d" / f"{name}.conf"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"[Service]\n{lines}\n")
    systemctl("daemon-reload")


def hold(until: Path) -> None:
    """A service whose stop lasts until a file is there: so long a host that shuts down has processes."""
    waits = f"/bin/sh -c 'until [ -e {until} ]; do sleep 0.1; done'"
    lines = f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecStop={waits}\n"
    (_SYSTEM / "hold.service").write_text(lines)
    systemctl("daemon-reload")
    systemctl("start", "hold.service")


def systemctl(*words: str) -> str:
    """Run it, to its end; what it prints."""
    ended = subprocess.run(["systemctl", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if ended.returncode:
        raise RuntimeError(f"systemctl {' '.join(words)}: {ended.returncode}\n{ended.stderr}{journal(words[-1])}")
    return ended.stdout


def show(unit: str, name: str) -> str:
    """A property of a unit."""
    return systemctl("show", "--value", f"--property={name}", unit).strip()


def journal(unit: str) -> str:
    """What a unit has said."""
    command = ["journalctl", "--no-pager", "--output=cat", f"--unit={unit}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def entries(*matches: str) -> list[dict[str, str]]:
    """The entries of the journal that have these fields, such as `NBDTUN_VM=web1`, with all that they have."""
    command = ["journalctl", "--no-pager", "--output=json", *matches]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in told.splitlines()]


def wait_status(unit: str, text: str, timeout: float = 60) -> None:
    """Wait until `systemctl status` shows a text as the unit's own words."""
    wait(lambda: text in show(unit, "StatusText"), timeout, f"{text!r} of {unit}")


def wait_end(unit: str, timeout: float = 60) -> None:
    """Wait until the unit's process has ended, which must be a good end."""
    wait(lambda: show(unit, "ActiveState") in ("inactive", "failed"), timeout, f"the end of {unit}")
    if show(unit, "ActiveState") == "failed":
        raise RuntimeError(f"{unit} has failed: {journal(unit)}")


def wait_other(unit: str, before: str, timeout: float = 60) -> None:
    """Wait until the unit's process is not the one of before."""
    wait(lambda: show(unit, "MainPID") not in (before, "0"), timeout, f"another process of {unit}")
