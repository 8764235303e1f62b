"""Daemons with configuration files."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.crossing import VM, Crossing
from lab.daemon import BIN, Command, free_port
from lab.disks import MIB
from lab.pair import Pair as Machines
from lab.pair import Plan
from nbdtun.tls.store import CA_CERT, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY, Layout, Store
from tests.integration.outcome import arrived


class Pair:
    """The two daemons, each with a file in `directory`, and a local program at either end."""

    def __init__(self, directory: Path, ended: ExitStack) -> None:
        self.directory = directory
        self._ended = ended
        self.port = free_port()

    def write(self, daemon: str, *lines: str) -> Path:
        """Make the file of one of the two."""
        file = self.directory / f"{daemon}.toml"
        file.write_text("\n".join([f'run-dir = "{self.directory}/run"', *lines]))
        return file

    def start(self, daemon: str, *lines: str, said: str) -> Command:
        """Start one, and wait until its log has a text."""
        words = ["--config", f"{self.write(daemon, *lines)}"]
        started = self._ended.enter_context(Command(self.directory / f"{daemon}.log", daemon, *words))
        started.wait_log(said, 20)
        return started

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Ask one of the daemons."""
        words = (*words, "--run-dir", f"{self.directory}/run")
        return subprocess.run([f"{BIN}/nbdtun", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)

    def listen(self, name: str) -> socket.socket:
        """A program's listening socket."""
        listener = self._ended.enter_context(socket.socket(socket.AF_UNIX))
        listener.settimeout(10)
        listener.bind(f"{self.directory}/{name}")
        listener.listen()
        return listener

    def connect(self, name: str) -> socket.socket:
        """A program's connection to one of the daemon's sockets."""
        local = self._ended.enter_context(socket.socket(socket.AF_UNIX))
        local.settimeout(10)
        local.connect(f"{self.directory}/{name}")
        return local

    def accepted(self, listener: socket.socket) -> socket.socket:
        """The other end of a connection."""
        peer = self._ended.enter_context(listener.accept()[0])
        peer.settimeout(10)
        return peer


def passes(one: socket.socket, other: socket.socket) -> bool:
    """Whether a byte gets from one socket to the other."""
    one.sendall(b"x")
    return other.recv(1) == b"x"


@pytest.fixture
def pair(directory: Path) -> Iterator[Pair]:
    with ExitStack() as ended:
        yield Pair(directory, ended)


@pytest.fixture
def libvirts(directory: Path, tls: Path) -> Path:
    """The certificates in libvirt's layout; a passphrase protects both keys, and is in the file `tls-password`."""
    there, here = Store(directory / "pki", Layout.LIBVIRT), Store.of(tls)
    for name in (CA_CERT, SERVER_CERT, CLIENT_CERT):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(here / name, there / name)
    (directory / "tls-password").touch(mode=0o600)
    (directory / "tls-password").write_text("not told\n")
    for name in (SERVER_KEY, CLIENT_KEY):
        (there / name).parent.mkdir(exist_ok=True)
        hide = ["openssl", "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:not told"]
        subprocess.run([*hide, "-in", here / name, "-out", there / name], check=True)
    return there.directory


def test_both_daemons_have_all_that_they_need_in_a_file(pair: Pair, libvirts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One end names the file with the passphrase, the other has it as a credential of systemd's."""
    there = pair.listen("a.sock")
    secure = [f'tls-dir = "{libvirts}"', 'tls-layout = "libvirt"']
    served = [f'listen = "127.0.0.1:{pair.port}"', f'target = ["a={pair.directory}/a.sock"]']
    password = f'tls-password-file = "{pair.directory}/tls-password"'
    pair.start("dest", *served, *secure, password, 'log-format = "json"', said='"text": "nbdtun')
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", f"{pair.directory}")
    dialled = [f'connect = "127.0.0.1:{pair.port}"', f'forward = "a={pair.directory}/in.sock"']
    pair.start("source", *dialled, *secure, said="answers")
    local = pair.connect("in.sock")
    assert passes(local, pair.accepted(there))


def test_a_reload_touches_no_channel(pair: Pair, tls: Path) -> None:
    """At both ends: other targets, forwards and rights, while bytes go through; and what cannot change is named."""
    one, two = pair.listen("a.sock"), pair.listen("b.sock")
    listen, secure = f'listen = "127.0.0.1:{pair.port}"', f'tls-dir = "{tls}"'
    dest = pair.start("dest", listen, secure, f'target = ["a={pair.directory}/a.sock"]', said="for target a")
    dialled = [f'connect = "127.0.0.1:{pair.port}"', secure]
    source = pair.start("source", *dialled, f'forward = ["a={pair.directory}/in.sock"]', said="answers")
    local = pair.connect("in.sock")
    assert passes(local, peer := pair.accepted(one))

    pair.write("dest", listen, secure, f'target = ["b={pair.directory}/b.sock"]', 'allow = ["cn:nbdtun client"]', 'window = "1MiB"')
    dest.signal(signal.SIGHUP)
    dest.wait_log("took target, allow")
    assert "window: restart the daemon to change that" in dest.log()
    pair.write("source", *dialled, f'forward = ["b={pair.directory}/other.sock"]', 'log-level = "debug"')
    told = pair.command("reload", f"@{source.pid}")
    assert told.stdout == f"nbdtun-source (pid {source.pid}): {pair.directory}/source.toml: took forward, log-level\n"
    assert not (pair.directory / "in.sock").exists()
    assert passes(peer, local)
    assert passes(local, peer)
    assert passes(pair.connect("other.sock"), pair.accepted(two))

    pair.write("dest", "lsten = 1")
    refused = pair.command("reload", f"@{dest.pid}")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "there is no option lsten; did you mean listen? [migration]" in refused.stderr
    pair.write("dest", listen, secure, f'target = ["b={pair.directory}/b.sock"]', 'allow = ["cn:somebody else"]')
    assert "took allow" in pair.command("reload", f"@{dest.pid}").stdout
    assert passes(local, peer)
    pair.connect("other.sock")
    source.wait_log("no --allow at the destination matches its certificate (cn:nbdtun client)")
    assert "link lost" not in source.log()


@pytest.mark.parametrize("launcher", [["nbdtun", "dest"], ["twistd", "-n", "--pidfile=", "nbdtun-dest"]], ids=lambda words: words[0])
def test_a_mistake_in_a_file_is_one_line(pair: Pair, launcher: list[str]) -> None:
    file = pair.write("dest", 'lsten = "10810"')
    words = [f"{BIN}/{launcher[0]}", *launcher[1:], "--config", f"{file}"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=20, cwd=pair.directory)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"nbdtun{'-dest' * (launcher[0] == 'twistd')}: {file}: there is no option lsten; did you mean listen? [config]\n"


@pytest.mark.slow
def test_a_reload_touches_no_migration(pairs: Callable[..., Machines], crossings: Callable[..., Crossing], directory: Path) -> None:
    """While the disk is copied, the destination gets another VM and other limits, and serves this one no more; then the cable is cut."""
    file = directory / "dest.toml"
    file.write_text("")
    machines = pairs(Plan(64 * MIB))
    crossing = crossings(machines, cable=True, daemon_options=["--config", f"{file}"])
    machines.source.wait_ticks(5)
    attempt = crossing.migrate("--bandwidth", "8MiB")
    attempt.wait_copied(8 * MIB)
    file.write_text('allow = ["cn:nbdtun client"]\nmax-channels = 100\nbandwidth = "500MiB"\nrecords = "library"\n')
    told = crossing.command("reload", far=True)
    assert told.stdout.endswith("dest.toml: took allow, bandwidth, max-channels; records: restart it to change that\n"), told
    changed = crossing.command("set", f"@{crossing.daemon.pid}", "--vm", "db=/run/db.qmp", "--remove-vm", VM, far=True)
    assert changed.stdout.endswith("serves db\n"), changed
    crossing.cable.cut()
    time.sleep(1)
    crossing.cable.plug()
    assert attempt.wait_exit(120) == 0, attempt.log()
    arrived(crossing)
