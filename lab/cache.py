"""The cache: where what was fetched and built once is kept."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LAB = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("NBDTUN_CACHE") or LAB.parent / ".cache").absolute()


def fetch(script: str) -> None:
    """Run one of the lab's scripts that fill the cache; each is quick when it has."""
    with locked():
        done = subprocess.run([LAB / script], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"lab/{script}: {done.stderr.strip() or 'failed'}")


@contextmanager
def locked() -> Iterator[None]:
    """One process at a time may fill the cache."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
