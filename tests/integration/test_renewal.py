"""Certificates that are renewed, and taken back, while real daemons run: nothing is started again for it."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.daemon import BIN
from lab.process import wait
from lab.tunnel import Tunnel
from tests.tls.stage.certificates import revoke_client

SIZE = f"{64 << 20}"
NBD_OPT_ABORT, NBD_REP_ACK = 2, 1
REVOKED = "its certificate has been revoked, says the destination's ca-crl.pem"


@pytest.fixture
def own_tls(tls: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tls, tmp_path / "tls"))


@pytest.fixture
def tunnel(directory: Path, memory: Path, own_tls: Path) -> Iterator[Tunnel]:
    with Tunnel(directory, memory, own_tls, cable=True) as made:
        yield made


def size(tunnel: Tunnel) -> str:
    """What an NBD client gets to know through it; or why nothing."""
    asked = subprocess.run(["nbdinfo", "--size", tunnel.uri], capture_output=True, text=True, timeout=30)
    return asked.stdout.strip() or asked.stderr


def test_renewed_ones_serve_what_comes_next(tunnel: Tunnel, own_tls: Path) -> None:
    """And a channel that was there before is taken up again with them."""
    assert tunnel.cable
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(f"{tunnel.entrance}")
        assert client.recv(18, socket.MSG_WAITALL).startswith(b"NBDMAGICIHAVEOPT")
        subprocess.run([BIN / "nbdtun", "certs", own_tls, "--host", "127.0.0.1", "--force"], check=True, stdout=subprocess.DEVNULL)
        assert size(tunnel) == SIZE
        tunnel.cable.cut()
        client.sendall(struct.pack("!I8sII", 3, b"IHAVEOPT", NBD_OPT_ABORT, 0))
        assert struct.unpack("!QIII", client.recv(20, socket.MSG_WAITALL))[1:3] == (NBD_OPT_ABORT, NBD_REP_ACK)
    for daemon in (tunnel.source, tunnel.destination):
        assert daemon.log().count("the certificates have changed; new links use them") == 1
    assert "link back" in tunnel.source.log()


def test_one_that_is_taken_back_is_refused_at_once(tunnel: Tunnel, own_tls: Path) -> None:
    assert size(tunnel) == SIZE
    revoke_client(own_tls)
    assert size(tunnel) != SIZE
    for daemon in (tunnel.destination, tunnel.source):
        wait(lambda daemon=daemon: REVOKED in daemon.log(), 10, "the reason, at both ends")  # type: ignore[misc]


def test_broken_ones_are_told_of_and_not_used(tunnel: Tunnel, own_tls: Path) -> None:
    for name in ("server-key.pem", "client-key.pem"):
        half = own_tls / "half"
        half.write_text("half a fi")
        half.chmod(0o600)
        half.replace(own_tls / name)  # in one step: each change is told
    assert [size(tunnel) for _ in range(3)] == [SIZE] * 3
    for daemon, name in ((tunnel.source, "client-key.pem"), (tunnel.destination, "server-key.pem")):
        line = f"{own_tls / name}: not a PEM private key; new links still use what was read before"
        assert daemon.log().count(line) == 1
