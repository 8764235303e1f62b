"""Loggers, and what an import of nbdtun leaves alone: the process belongs to the application."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbdtun.logs import make_logger

ROOT = Path(__file__).parent.parent

IMPORT = """
import os, resource, signal, sys
signals = {number: signal.getsignal(number) for number in signal.valid_signals()}
files, umask = resource.getrlimit(resource.RLIMIT_NOFILE), os.umask(0o22)
import txaio
from nbdtun.PACKAGE import *  # each name, and so each module
assert not txaio.using_twisted and not txaio.using_asyncio
assert "twisted.internet.reactor" not in sys.modules
assert signals == {number: signal.getsignal(number) for number in signal.valid_signals()}
assert files == resource.getrlimit(resource.RLIMIT_NOFILE)
assert umask == os.umask(0o22)
txaio.use_asyncio()
assert txaio.using_asyncio
"""


class Somebody:
    log = make_logger()


def test_a_logger_is_called_as_its_class(said: list[str]) -> None:
    assert Somebody.log._logger.namespace == f"{__name__}.Somebody"
    Somebody.log.debug("nobody has asked")
    Somebody.log.info("{number} of {all}", number=1, all=2)
    assert said == ["1 of 2"]


@pytest.mark.parametrize("package", ["service", "config"])
def test_an_import_leaves_the_process_as_it_is(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT.replace("PACKAGE", package)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
