"""
The outcomes of sessions, kept in files until their sources know them.

A QEMU has the journal of its session, which says more. A file is for when that QEMU has ended, and nbdtun at both ends: it tells a guest
that has run here from one that never did.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from nbdtun.logs import make_logger
from nbdtun.migration.destination.life import State
from nbdtun.ownership.directories import remove_empty
from nbdtun.ownership.files import keep_file, remove_drafts, remove_file


def state_dir(run_dir: str | None) -> Path:
    """Where state is kept: ``/var/lib/nbdtun`` for root, or the user's own; below ``run_dir``, if that was chosen."""
    if run_dir:
        return Path(run_dir).absolute() / "state"
    if os.geteuid() == 0:
        return Path("/var/lib/nbdtun")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "nbdtun"


class Outcomes:
    """The outcome of the last session of each VM, in files of ``directory``."""

    log = make_logger()

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._noted: dict[str, tuple[str, State]] = {}

    def __repr__(self) -> str:
        return f"<Outcomes in {self._directory}>"

    def note(self, vm: str, session: str, state: State, qmp: str = "") -> None:
        """
        Keep the state of the VM's last session, once it is over, and the monitor ``qmp`` of its QEMU. A file that cannot be written is done
        without.
        """
        if state.over and self._noted.get(vm) != (session, state):
            self._noted[vm] = session, state
            with suppress(OSError):
                keep_file(self._path(vm), json.dumps({"session": session, "state": state.value, "qmp": qmp}).encode())

    def monitor(self, vm: str) -> str:
        """The monitor of the QEMU whose guest has run here, or may have; empty if that is unknown."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            found = json.loads(self._path(vm).read_bytes())
            if State(found["state"]) in (State.FINISHED, State.UNCERTAIN):
                return str(found["qmp"])
        return ""

    def recall(self, vm: str, session: str | None) -> State | None:
        """
        The state in which ``session`` of the VM has ended (None: its last one); None if that is unknown. What cannot be read may be of any
        session, and of a guest that has run.
        """
        try:
            found = json.loads(self._path(vm).read_bytes())
            return State(found["state"]) if session in (None, found["session"]) else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as odd:
            self.log.warn("{path} cannot be read, so that {vm} may have run here: {reason!s}", path=self._path(vm), vm=vm, reason=odd)
            return State.UNCERTAIN

    def forget(self, vm: str) -> None:
        """The source knows it."""
        self._noted.pop(vm, None)
        remove_file(f"{self._path(vm)}")
        remove_drafts(self._path(vm))
        with suppress(OSError):  # others are kept there
            remove_empty(f"{self._directory}")

    def _path(self, vm: str) -> Path:
        return self._directory / f"{vm}.outcome"
