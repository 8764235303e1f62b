"""Every way to write an address, between real daemons, in a network of the test's own: the default port, IPv4 and IPv6, zones."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.daemon import BIN, unix_listening
from lab.process import Process, wait

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network")]


class Network:
    """A network namespace with a loopback; ``daemon`` starts a daemon in it."""

    def __init__(self, directory: Path, ended: ExitStack) -> None:
        self.directory = directory
        self._ended = ended
        holder = ended.enter_context(Process(["unshare", "-n", "sleep", "600"], directory / "network.log"))
        own = os.readlink("/proc/self/ns/net")
        wait(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own, 5, "the network", holder)
        self._enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        self.run("ip link set lo up")

    def run(self, command: str) -> str:
        return subprocess.run([*self._enter, "sh", "-c", command], check=True, capture_output=True, text=True, timeout=10).stdout

    def daemon(self, name: str, plugin: str, *options: str) -> Process:
        command = [*self._enter, f"{BIN}/twistd", "-n", "--pidfile=", plugin, "--insecure", "--run-dir", f"{self.directory}/run", *options]
        return self._ended.enter_context(Process(command, self.directory / f"{name}.log"))


@pytest.fixture
def network(directory: Path) -> Iterator[Network]:
    with ExitStack() as ended:
        yield Network(directory, ended)


@pytest.fixture
def echo(directory: Path) -> Iterator[str]:
    """The path of a socket that sends back what it gets."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{directory}/echo.sock")
        listening.listen()

        kept = []

        def serve() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                kept.append(peer)  # open: the destination keeps the channel of a source that has gone
                peer.sendall(peer.recv(100))

        threading.Thread(target=serve, daemon=True).start()
        yield f"{directory}/echo.sock"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def answered(network: Network, directory: Path) -> Callable[[str], bool]:
    """Whether a destination at this address answers a source in the same network."""

    def ask(address: str) -> bool:
        name = f"source{len(list(directory.glob('source*.log')))}"
        path = directory / f"{name}.sock"
        with network.daemon(name, "nbdtun-source", "--connect", address, "--forward", f"echo={path}") as source:
            wait(lambda: unix_listening(path), 20, f"listener on {path}", source)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(10)
                sock.connect(f"{path}")
                sock.sendall(b"hello")
                return sock.recv(5) == b"hello"

    return ask


def start(network: Network, listen: str, echo: str) -> Process:
    daemon = network.daemon("dest", "nbdtun-dest", "--listen", listen, "--target", f"echo={echo}")
    wait(lambda: "starting on 10810" in daemon.log(), 20, "the destination", daemon)
    return daemon


def test_one_port_serves_every_address(network: Network, echo: str, answered: Callable[[str], bool]) -> None:
    network.run("ip link add left type veth peer name right && ip link set left up && ip link set right up")
    zone = network.run("ip -6 -o addr show dev left scope link").split()[3].partition("/")[0]
    start(network, "tcp:10810", echo)
    wait(lambda: "tentative" not in network.run("ip -6 addr show dev left"), 10, "the address")
    spellings = [
        "127.0.0.1",
        "tcp:127.0.0.1:10810",
        "::1",
        "[::1]",
        "tcp:[::1]:10810",
        r"tcp:\:\:1:10810",
        "localhost:10810",
        f"[{zone}%left]",
    ]
    assert [spelling for spelling in spellings if not answered(spelling)] == []


def test_it_serves_ipv4_where_ipv6_is_disabled(network: Network, echo: str, answered: Callable[[str], bool]) -> None:
    network.run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    start(network, "10810", echo)
    assert answered("127.0.0.1")


@pytest.mark.parametrize(("listen", "address"), [("[::1]:10810", "[::1]:10810"), ("0.0.0.0:10810", "127.0.0.1"), (":10810", "tcp:[::1]")])
def test_addresses_to_listen_on(network: Network, echo: str, answered: Callable[[str], bool], listen: str, address: str) -> None:
    start(network, listen, echo)
    assert answered(address)
