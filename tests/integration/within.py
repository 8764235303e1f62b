"""A test that runs in a host of its own, whose first process is a real systemd."""

from __future__ import annotations

import functools
import inspect
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab import systemd, units
from lab.guest import Guest
from lab.systemd import Systemd


def within(test: Callable[..., None]) -> Callable[..., None]:
    """Run the test in a host of its own: this process boots it, and pytest runs there again, for this test."""
    if systemd.INSIDE:
        return test

    @functools.wraps(test)
    def outside(directory: Path) -> None:
        if reason := systemd.unable():
            pytest.skip(reason)
        where = f"{inspect.getfile(test)}::{test.__name__}"
        with Systemd(directory) as host:
            place = ["env", f"--chdir={units.SHIPPED.parent}", "NBDTUN_SLOW=1"]
            command = host.command([*place, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", where])
            ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert "1 passed" in ended.stdout, ended.stdout + ended.stderr

    del outside.__wrapped__  # pytest asks it for the fixtures, which are those of the other one
    return outside


def lent(guest: Guest, directory: Path) -> Guest:
    """The guest in a directory that other users reach."""
    kernel, initramfs = (Path(shutil.copy(path, directory)) for path in (guest.kernel, guest.initramfs))
    return replace(guest, kernel=kernel, initramfs=initramfs)
