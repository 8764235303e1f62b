"""A PKI for the targets that need one."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from nbdtun.tls import issue


@functools.cache
def certificates() -> Path:
    """Its directory, as long as this process lives."""
    directory = Path(tempfile.mkdtemp(prefix="nbdtun-fuzz-"))
    atexit.register(shutil.rmtree, directory)
    issue.make(directory, ["localhost"])
    return directory
