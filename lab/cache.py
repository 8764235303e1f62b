"""The cache: where what was fetched and built once is kept."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

LAB = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("NBDTUN_CACHE") or LAB.parent / ".cache").absolute()


def fetch(script: str) -> None:
    """Run one of the lab's scripts that fill the cache; each is quick when it has."""
    done = subprocess.run([LAB / script], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"lab/{script}: {done.stderr.strip() or 'failed'}")
