"""A real destination among peers who do not mean well, and its other sources, who do not notice."""

from __future__ import annotations

import filecmp
import os
import random
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from lab.process import Process, wait
from lab.tunnel import Tunnel
from nbdtun.tls.contexts import client_context
from nbdtun.tunnel.opening.commands import IDENT_SIZE
from tests.tunnel.stage.stranger import OFFER, box

MIB = 1024 * 1024
HANDSHAKE = 2.0
STRANGERS = 600
"""So many come at least: more than twice of what the destination lets stand at its door."""
OPTIONS = ["--handshake-timeout", f"{HANDSHAKE}s"]


class Mob:
    """Strangers at a port; each deed is one of them, and some stay where they are."""

    def __init__(self, port: int, tls: Path | None, held: ExitStack) -> None:
        self.done = 0
        self._port = port
        self._context = client_context(tls) if tls else None
        self._held = held
        self._chance = random.Random(1)

    def dial(self) -> socket.socket:
        peer = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        self._held.callback(peer.close)
        return peer

    def babble(self) -> None:
        """Garbage, and gone."""
        with self.dial() as peer:
            peer.sendall(self._chance.randbytes(self._chance.randrange(1, 20_000)))

    def linger(self) -> None:
        """Silent, for as long as it is let."""
        self.dial()

    def hint(self) -> None:
        """The beginning of a TLS handshake, and no more of it."""
        self.dial().sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")

    def resume(self) -> None:
        """A resume of a channel that it does not know, with a certificate where one is wanted."""
        with self.dial() as plain, self._secured(plain) as peer:
            told = {"channel": self._chance.randbytes(IDENT_SIZE), **({"secret": self._chance.randbytes(32)} if self._context else {})}
            peer.sendall(box(_command="ResumeChannel", _ask="1", **OFFER, **told, received=0))
            assert b"resume-refused" in peer.recv(4096)

    def _secured(self, plain: socket.socket) -> socket.socket:
        return self._context.wrap_socket(plain, server_hostname="127.0.0.1") if self._context else plain

    def rage(self, deeds: list[Callable[[], None]], until: threading.Event) -> None:
        while not until.is_set():
            with suppress(OSError):  # it was shown the door
                self._chance.choice(deeds)()
                self.done += 1


def descriptors(daemon: Process) -> int:
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


@pytest.mark.parametrize("secure", [False, True])
def test_a_mob_at_the_door_disturbs_nobody_inside(directory: Path, tls: Path, memory: Path, secure: bool) -> None:
    original, copy = directory / "original", directory / "copy"
    original.write_bytes(os.urandom(64 * MIB))
    over = threading.Event()
    with ExitStack() as held, Tunnel(directory, memory, tls if secure else None, options=OPTIONS, cable=True) as tunnel:
        destination = tunnel.destination
        subprocess.run(["nbdcopy", original, tunnel.uri], check=True, timeout=60)
        before, size = descriptors(destination), destination.rss()
        mob = Mob(tunnel.port, tls if secure else None, held)
        raging = threading.Thread(target=mob.rage, args=([mob.babble, mob.linger, mob.hint, mob.resume], over))
        raging.start()
        try:
            latest = time.monotonic() + 60
            assert tunnel.cable is not None
            while mob.done < STRANGERS and time.monotonic() < latest:

                def opens(before: int = tunnel.source.log().count("is open")) -> bool:
                    return tunnel.source.log().count("is open") > before

                with Process(["nbdcopy", "--connections=1", tunnel.uri, copy], directory / "nbdcopy.log") as copying:
                    wait(opens, 20, "a channel", copying)
                    tunnel.cable.cut()  # and its link is taken up again through the mob
                    assert copying.wait_exit(60) == 0
                assert filecmp.cmp(original, copy, shallow=False)
                assert descriptors(destination) < before + 2 * 256 + 2 * 128
        finally:
            over.set()
            raging.join()
        grown = destination.rss() - size
        assert mob.done >= STRANGERS
        assert grown < 64 * MIB, f"{grown / MIB:.0f} MiB more after {mob.done} strangers"
        held.close()
        wait(lambda: descriptors(destination) <= before, HANDSHAKE + 8, "an end of the strangers' descriptors", destination)
        log = destination.log()
        assert "Traceback" not in log
        assert log.count("refused ") <= 60
        print(f"{mob.done} strangers, {grown / MIB:.1f} MiB more, {log.count('refused ')} lines")


def test_the_handshakes_time_is_not_extended_by_dripping(directory: Path, tls: Path, memory: Path) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(tls).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    with Tunnel(directory, memory, tls, options=OPTIONS) as tunnel, socket.create_connection(("127.0.0.1", tunnel.port)) as peer:
        began = time.monotonic()
        peer.settimeout(0.1)
        with suppress(ConnectionError):
            for letter in hello:
                peer.sendall(bytes([letter]))
                with suppress(TimeoutError):
                    assert peer.recv(1) == b""
                    break
        assert HANDSHAKE - 0.2 < time.monotonic() - began < HANDSHAKE + 2
        tunnel.destination.wait_log("no answer in 2 s [link-lost]")


@pytest.mark.parametrize(("pattern", "admitted"), [("cn:nbdtun c*", True), ("*.hosts.example", False)])
def test_a_certificate_of_the_right_ca_may_not_be_enough(directory: Path, tls: Path, memory: Path, pattern: str, admitted: bool) -> None:
    with Tunnel(directory, memory, tls, destination_options=["--allow", "src1", "--allow", pattern]) as tunnel:
        asked = subprocess.run(["nbdinfo", "--size", tunnel.uri], capture_output=True, text=True, timeout=30)
        assert (asked.returncode == 0) is admitted
        if not admitted:
            why = "no --allow at the destination matches its certificate (cn:nbdtun client) [not-allowed]"
            assert why in tunnel.source.wait_log("[not-allowed]")
            assert tunnel.destination.wait_log("[not-allowed]").count(why) in (1, 2)  # the source has greeted before it opened a channel
        assert "Traceback" not in tunnel.source.log() + tunnel.destination.log()


def test_what_a_source_sends_malformed_is_not_copied_into_the_log(directory: Path, tls: Path, memory: Path) -> None:
    """Nor a traceback of it; least of all for a source that is not admitted."""
    fields = {**OFFER, "channel": b"i" * IDENT_SIZE, "target": "nbd", "window": MIB, "urgent": "x" * 15_000}
    nonsense = box(_command="OpenChannel", _ask="1", **fields)
    context = client_context(tls)
    with Tunnel(directory, memory, tls, destination_options=["--allow", "cn:somebody else"]) as tunnel:
        before = len(tunnel.destination.log())
        for _ in range(20):
            plain = socket.create_connection(("127.0.0.1", tunnel.port), timeout=10)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as peer:
                peer.sendall(nonsense)
                assert b"protocol" in peer.recv(4096)
        log = tunnel.destination.wait_log("[not-allowed]")
        assert "Traceback" not in log
        assert len(log) - before < 2000


def test_channels_of_one_source_are_limited(directory: Path, tls: Path, memory: Path) -> None:
    with Tunnel(directory, memory, tls, destination_options=["--max-channels-per-peer", "2"]) as tunnel, ExitStack() as held:
        for _ in range(3):
            held.enter_context(socket.socket(socket.AF_UNIX)).connect(f"{tunnel.entrance}")
        tunnel.source.wait_log(
            "the destination has reached its limit of 2 channels for this source (--max-channels-per-peer) [too-many-channels]"
        )
        held.close()
        ended = re.compile("channel nbd .* (is complete|failed)")  # it depends on whether the server's greeting was there already
        wait(lambda: len(ended.findall(tunnel.destination.log())) == 2, 10, "an end of both channels", tunnel.destination)
        subprocess.run(["nbdinfo", "--size", tunnel.uri], capture_output=True, check=True, timeout=30)
