"""The cable between the daemons is cut, stalled, slowed and pulled; nothing is lost."""

from __future__ import annotations

import filecmp
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.cable import Cable
from lab.process import Process, wait
from lab.tunnel import Tunnel

MIB = 1024 * 1024
SIZE = 512 * MIB
CUTS = 50

pytestmark = pytest.mark.xdist_group("cable")  # its file of 512 MiB is made once


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 512 MiB of random data."""
    path = tmp_path_factory.mktemp("data") / "original"
    with path.open("wb") as file:
        for _ in range(SIZE // (64 * MIB)):
            file.write(os.urandom(64 * MIB))
    return path


@pytest.fixture
def tunnels(directory: Path, tls: Path) -> Iterator[Callable[..., Tunnel]]:
    """Makes a tunnel with a cable in it, and with TLS unless told otherwise."""
    with ExitStack() as ended:

        def make_one(target: Path, *, secure: bool = True, **options: Any) -> Tunnel:
            return ended.enter_context(Tunnel(directory, target, tls if secure else None, cable=True, **options))

        yield make_one


@pytest.fixture
def server(directory: Path) -> Iterator[Path]:
    """The socket of an NBD server with an empty disk of 512 MiB."""
    path = directory / "nbd.sock"
    with Process(["nbdkit", "-f", "-U", path, "memory", f"{SIZE}"], directory / "nbdkit.log") as server:
        wait(path.exists, 10, "nbdkit", server)
        yield path


def the_cable(tunnel: Tunnel) -> Cable:
    assert tunnel.cable is not None
    return tunnel.cable


def copy(log: Path, *arguments: Path | str) -> Process:
    return Process(["nbdcopy", *arguments], log)


def cut_often(cable: Cable, copying: Process, seed: int) -> int:
    """Cut at 50 random bytes while the copy goes on; how often that was."""
    chance = random.Random(seed)
    done = 0
    while done < CUTS and copying.running():
        seen = cable.counters().accepted
        cable.cut_after(chance.randrange(1, 2 * SIZE // CUTS))
        while copying.running() and cable.counters().accepted == seen:
            time.sleep(0.001)
        done += 1
    return done


def untroubled(tunnel: Tunnel) -> None:
    logs = tunnel.source.log() + tunnel.destination.log()
    assert "Traceback" not in logs
    assert "failed" not in logs


@pytest.mark.parametrize("secure", [pytest.param(True, id="TLS"), pytest.param(False, id="plain", marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", ["there", "back"])
def test_a_copy_under_fifty_cuts(
    tunnels: Callable[..., Tunnel], directory: Path, server: Path, original: Path, way: str, secure: bool
) -> None:
    tunnel = tunnels(server, secure=secure)
    if way == "back":
        direct = f"nbd+unix:///?socket={server}"
        subprocess.run(["nbdcopy", original, direct], check=True, timeout=60)
        copying = copy(directory / "copy.log", tunnel.uri, directory / "copied")
    else:
        copying = copy(directory / "copy.log", original, tunnel.uri)
    with copying:
        assert cut_often(the_cable(tunnel), copying, seed=len(way)) >= CUTS * 0.8
        the_cable(tunnel).plug()
        assert copying.wait_exit(120) == 0, copying.log()
    if way == "there":
        subprocess.run(["nbdcopy", f"nbd+unix:///?socket={server}", directory / "copied"], check=True, timeout=60)
    assert filecmp.cmp(original, directory / "copied", shallow=False)
    untroubled(tunnel)


@pytest.mark.parametrize("trouble", ["stall", "linger", "one way", "refuse"])
def test_a_copy_meets(tunnels: Callable[..., Tunnel], directory: Path, server: Path, original: Path, trouble: str) -> None:
    tunnel = tunnels(server, options=["--link-timeout", "1s"])
    cable = the_cable(tunnel)
    with copy(directory / "copy.log", original, tunnel.uri) as copying:
        cable.wait_bytes(100 * MIB)
        if trouble == "stall":
            cable.stall()
            tunnel.source.wait_log("nothing was received for 1 s")
        elif trouble == "one way":
            cable.stall("down")
            tunnel.source.wait_log("nothing was received for 1 s")
        elif trouble == "linger":
            cable.linger()
            tunnel.source.wait_log("link back after")
        else:
            cable.pull(2.0)
            tunnel.source.wait_log("link back after")
        cable.plug()
        assert copying.wait_exit(120) == 0, copying.log()
    subprocess.run(["nbdcopy", f"nbd+unix:///?socket={server}", directory / "copied"], check=True, timeout=60)
    assert filecmp.cmp(original, directory / "copied", shallow=False)
    assert "link lost" in tunnel.source.log()
    untroubled(tunnel)


def test_one_byte_at_a_time(tunnels: Callable[..., Tunnel], server: Path) -> None:
    tunnel = tunnels(server)
    the_cable(tunnel).trickle()
    shown = subprocess.run(["nbdinfo", "--size", tunnel.uri], check=True, capture_output=True, text=True, timeout=60)
    assert int(shown.stdout) == SIZE


def test_longer_than_the_resume_window(tunnels: Callable[..., Tunnel], directory: Path, server: Path, original: Path) -> None:
    tunnel = tunnels(server, options=["--resume-window", "2s", "--link-timeout", "1s"])
    with copy(directory / "copy.log", original, tunnel.uri) as copying:
        the_cable(tunnel).wait_bytes(50 * MIB)
        the_cable(tunnel).pull()
        assert copying.wait_exit(20) != 0
        tunnel.source.wait_log("failed: no new link within 2 s")
        tunnel.destination.wait_log("failed: no new link within 2 s")
    the_cable(tunnel).plug()
    subprocess.run(["nbdinfo", "--size", tunnel.uri], check=True, capture_output=True, timeout=20)
    assert "Traceback" not in tunnel.source.log() + tunnel.destination.log()
