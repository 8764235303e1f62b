"""ssh's forwarding of a UNIX socket, to an sshd of its own with keys of its own."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.pair import Pair, Peer, Place, program
from lab.daemon import listening, unix_listening
from lab.process import Process, wait

CIPHER = "aes128-gcm@openssh.com"
SEPARATION = Path("/run/sshd")
"""Where a root's sshd wants an empty directory; the system makes it when it starts its own."""


@contextmanager
def start(place: Place) -> Iterator[Pair]:
    """Every line goes to one place: `client.entrance` is all that a client needs."""
    with server(place) as destination, forward(place, place.entrance, place.server) as source:
        yield Pair(place.entrance, source, destination)


@contextmanager
def server(place: Place) -> Iterator[Process]:
    """An sshd that lets this user in by the key that `forward` has."""
    for name in ("host", "user"):
        key = place.directory / f"{name}-key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with _separation(), Process([program("sshd") or "sshd", "-D", "-e", "-f", _settings(place)], place.directory / "sshd.log") as sshd:
        wait(lambda: listening(place.port), 10, "sshd's port", sshd)
        yield sshd


@contextmanager
def forward(place: Place, entrance: Path, target: Path) -> Iterator[Process]:
    """A client that forwards one socket."""
    options = [
        *("BatchMode=yes", "ExitOnForwardFailure=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"),
        *("IdentitiesOnly=yes", "Compression=no", f"Ciphers={CIPHER}", "StreamLocalBindUnlink=yes"),
    ]
    words = [word for option in options for word in ("-o", option)]
    to = ["-i", f"{place.directory}/user-key", "-p", f"{place.port}", f"{getpass.getuser()}@127.0.0.1"]
    log = place.directory / f"{entrance.stem}-ssh.log"
    with Process(["ssh", "-F", "none", "-N", "-L", f"{entrance}:{target}", *words, *to], log) as ssh:
        wait(lambda: unix_listening(entrance), 10, "ssh's socket", ssh)
        yield ssh


def _settings(place: Place) -> Path:
    own = place.directory
    lines = [
        *("ListenAddress 127.0.0.1", f"Port {place.port}", f"HostKey {own}/host-key", f"AuthorizedKeysFile {own}/user-key.pub"),
        *("PidFile none", "UsePAM no", "StrictModes no", "PasswordAuthentication no", "PermitRootLogin prohibit-password"),
        *(f"Ciphers {CIPHER}", "AllowStreamLocalForwarding yes", "StreamLocalBindUnlink yes", "UseDNS no"),
    ]
    path = own / "sshd.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


@contextmanager
def _separation() -> Iterator[None]:
    """Its directory, as long as it is needed, if it was not there."""
    if os.geteuid() != 0 or SEPARATION.exists():
        yield
        return
    SEPARATION.mkdir(mode=0o755)
    try:
        yield
    finally:
        SEPARATION.rmdir()


SSH = Peer("ssh aes128-gcm", start, ("ssh", "sshd", "ssh-keygen"))
