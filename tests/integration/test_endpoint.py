"""The tunnel in Twisted applications: the example's protocols, as processes, with a cable between them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.cable import Cable
from lab.daemon import free_port, listening
from lab.process import Process, wait

EXAMPLE = Path(__file__).parent.parent.parent / "examples/channel.py"
MIB = 1024 * 1024


@pytest.fixture
def cable(directory: Path, tls: Path) -> Iterator[Cable]:
    """To a destination that serves the example's protocol."""
    port = free_port()
    with ExitStack() as ended:
        words = ["serve", f"tcp:{port}:interface=127.0.0.1", f"{tls}"]
        served = ended.enter_context(Process([sys.executable, EXAMPLE, *words], directory / "serve.log"))
        wait(lambda: listening(port), 20, "the destination", served)
        yield ended.enter_context(Cable(directory, port))


def ask(cable: Cable, tls: Path) -> subprocess.Popen[bytes]:
    words = ["ask", f"tcp:127.0.0.1:{cable.port}", f"{tls}"]
    return subprocess.Popen([sys.executable, EXAMPLE, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_protocol_of_its_own_survives_a_cut(cable: Cable, tls: Path) -> None:
    data = os.urandom(24 * MIB)
    asking = ask(cable, tls)

    def cut() -> None:
        for _ in range(3):
            time.sleep(0.3)
            cable.cut()

    cutting = threading.Thread(target=cut)
    assert asking.stdin is not None
    asking.stdin.write(data[: 4 * MIB])
    cutting.start()
    for start in range(4 * MIB, len(data), MIB):
        asking.stdin.write(data[start : start + MIB])
        time.sleep(0.05)
    cutting.join()
    told, complaint = asking.communicate(timeout=60)
    assert told.decode() == hashlib.sha256(data).hexdigest() + "\n", complaint
    assert cable.counters().accepted >= 2, "it was cut"


def test_an_empty_stream_is_one(cable: Cable, tls: Path) -> None:
    told, complaint = ask(cable, tls).communicate(b"", timeout=60)
    assert told.decode() == hashlib.sha256().hexdigest() + "\n", complaint
