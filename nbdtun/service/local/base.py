"""The base of run directories: where the sockets of this user's processes are. The relay of an ssh session asks, too."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def default_base() -> Path:
    """
    The default base of run directories: ``/run/nbdtun`` for root; for others the first directory that systemd made for their service
    (``RuntimeDirectory=``, systemd.exec(5)), or the user's.
    """
    if os.geteuid() == 0:
        return Path("/run/nbdtun")
    if made := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(made.split(":")[0])
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "nbdtun" if runtime else Path(tempfile.gettempdir()) / f"nbdtun-{os.geteuid()}"


def base_of(run_dir: str | None) -> Path:
    """The directory that ``--run-dir`` means."""
    return Path(run_dir).absolute() if run_dir else default_base()
