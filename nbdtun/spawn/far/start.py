"""
QEMU as a process of its own, which survives ours; or as a transient unit of systemd's.

It has no terminal, and belongs to a session of its own. What it says goes to a log beside its monitor.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from nbdtun.errors import NotMigratable
from nbdtun.ownership.files import append_to, end_of_file
from nbdtun.ownership.way import is_steady
from nbdtun.spawn.values import Plan

LOG: Final = ".log"
#: The most of its log that is read for its last words.
_LAST: Final = 4096


class Started:
    """A QEMU that was started for a plan: its process, or its unit."""

    def __init__(self, log: str, process: subprocess.Popen[bytes], unit: str = "") -> None:
        self.log = log
        self.unit = unit
        self._process = process

    def __repr__(self) -> str:
        return f"<Started {self.unit or self._process.pid}>"

    @property
    def pid(self) -> int:
        """Its process id; 0 for a unit's."""
        return 0 if self.unit else self._process.pid

    def has_ended(self) -> bool:
        """Whether it has ended, or could not begin."""
        status = self._process.poll()
        if not self.unit or status is None:
            return status is not None
        return status != 0 or _systemctl(self.unit, "is-active", "--quiet").returncode != 0

    def last_words(self) -> str:
        """The last line that it said; of QEMU's own, which begin with its name, if there is one: hints may follow it."""
        with suppress(OSError):
            lines = [line.strip() for line in end_of_file(self.log, _LAST).decode(errors="replace").splitlines() if line.strip()]
            own = [line for line in lines if line.startswith("qemu") and ": " in line]
            return [*lines, *own][-1] if lines else ""
        return ""

    def end(self, seconds: float = 5.0) -> None:
        """End it, and wait for that."""
        if self.unit:
            if not self._refused(seconds):
                stop_unit(self.unit)
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                return

    def _refused(self, seconds: float) -> bool:
        """Whether systemd has started no unit: one of that name may be another VM's."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds) > 0
        return False


def start(plan: Plan, emulator: str, name: str) -> Started:
    """
    Start the QEMU of a plan; ``name`` is that of a unit.

    :raise NotMigratable: it cannot be started.
    """
    log = plan.qmp + LOG
    words = [emulator, *plan.arguments]
    try:
        with append_to(Path(log)) as output:
            if plan.unit:
                return Started(log, _spawn([*_unit(plan, name, log), "--", *words], output), name)
            return Started(log, _spawn(words, output, **_identity(plan.user)))
    except OSError as error:
        raise NotMigratable(f"{emulator} cannot be started: {error.strerror}") from None


def unit_pid(unit: str) -> int:
    """The process id of a unit that was started here; 0 if it does not run."""
    told = _systemctl(unit, "show", "--property=MainPID", "--value").stdout.strip()
    return int(told) if told.isdigit() else 0


def stop_unit(unit: str) -> None:
    """End a unit that was started here, and wait for that."""
    _systemctl(unit, "stop")


def _spawn(words: list[str], output: IO[str], **identity: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True, **identity)


def _identity(user: str) -> dict[str, Any]:
    """The arguments of Popen that make a process another user's."""
    if os.geteuid() != 0 or not user or user == "root":
        return {}
    known = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    groups = os.getgrouplist(known.pw_name, known.pw_gid)
    return {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": groups}


def _unit(plan: Plan, name: str, log: str) -> list[str]:
    if shutil.which("systemd-run") is None:
        raise NotMigratable("systemd-run is not there", "leave --unit out")
    mine = os.geteuid() != 0
    user = [] if mine or plan.user in ("", "root") else [f"--uid={plan.user}"]
    # systemd opens it as root, and follows links: what it says goes to the journal where others could have put one.
    said = [f"--property=Standard{each}=append:{log}" for each in ("Output", "Error") if mine or is_steady(os.path.dirname(log))]
    return ["systemd-run", *(["--user"] if mine else []), "--quiet", "--collect", f"--unit={name}", "--service-type=exec", *user, *said]


def _systemctl(unit: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    mine = ["--user"] if os.geteuid() != 0 else []
    return subprocess.run(["systemctl", *mine, *words, unit], stdin=subprocess.DEVNULL, capture_output=True)
