"""The role's firewalls, real ones over a real kernel's filter: a connection from another host passes when the role has opened the port."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.cache import CACHE, fetch
from lab.process import wait
from lab.systemd import Systemd
from tests.integration.ansible_moves.stage import WHY, Booted

PORT, OTHER = 10810, 10811
RULE = 'rule family="ipv4" source address="192.0.2.2" port port="10810" protocol="tcp" accept'

#: What the operator has done before: the firewall is on.
ON = {"firewalld": ["systemctl", "start", "firewalld"], "ufw": ["ufw", "--force", "enable"]}
#: What a reboot does, too: it begins with what is on its disk.
AGAIN = {"firewalld": ["firewall-cmd", "--reload"], "ufw": ["ufw", "reload"]}
#: What takes away a part of what the role has done, as an interrupted run leaves it.
HALF = {
    "firewalld": [
        "firewall-cmd",
        '--remove-rich-rule=rule family="ipv4" source address="192.0.2.2" port port="10810" protocol="tcp" accept',
    ],
    "ufw": ["ufw", "delete", "allow", "from", "2001:db8::2", "to", "any", "port", "10810", "proto", "tcp"],
}

SOURCES = ["192.0.2.2", "2001:db8::2"]
STRANGERS = ["192.0.2.3", "2001:db8::3"]


class Walled:
    """A host with a firewall, which is on, listeners at two ports, and a neighbour who has several addresses."""

    def __init__(self, host: Systemd, directory: Path, engine: str) -> None:
        self.host, self.engine = host, engine
        self._controller = Booted(host, directory)
        host.run("sh", "-c", f"DEBIAN_FRONTEND=noninteractive dpkg --install {CACHE}/firewalls/{engine}/*.deb")
        self._cable()
        for port in (PORT, OTHER):
            host.run("systemd-run", "--quiet", "socat", f"TCP6-LISTEN:{port},ipv6only=0,fork,reuseaddr", "/dev/null")
        wait(lambda: len(self.reached(*SOURCES, *STRANGERS)) == 4, 20, "the listeners", host)
        host.run(*ON[engine])
        wait(lambda: self.reached(*SOURCES, *STRANGERS) == [], 30, "the firewall", host)

    def _cable(self) -> None:
        self.host.run("ip", "netns", "add", "neighbour")
        self.host.run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", "neighbour")
        for inside, numbers in (([], (1,)), (["-n", "neighbour"], (2, 3))):
            for number in numbers:
                self.host.run("ip", *inside, "address", "add", f"192.0.2.{number}/24", "dev", "cable")
                self.host.run("ip", *inside, "address", "add", f"2001:db8::{number}/64", "dev", "cable", "nodad")
            self.host.run("ip", *inside, "link", "set", "cable", "up")

    def reached(self, *sources: str, port: int = PORT) -> list[str]:
        """Those of the neighbour's addresses from which a port is reached."""
        return [source for source in sources if self._reached(source, port)]

    def _reached(self, source: str, port: int) -> bool:
        there, ours = ("TCP6:[2001:db8::1]", f"[{source}]") if ":" in source else ("TCP4:192.0.2.1", source)
        call = f"socat -u OPEN:/dev/null {there}:{port},bind={ours},connect-timeout=1"
        return self.host.run("sh", "-c", f"ip netns exec neighbour {call} 2>/dev/null && echo reached || true") == "reached\n"

    def open(self, *words: str, **variables: object) -> int:
        """Play the part of the role; the number of changes that it reports."""
        told = self._controller.take({"name": "nbdtun.migration.nbdtun", "tasks_from": "firewall"}, variables, *words)
        (changed,) = re.findall(r"changed=(\d+)", told)
        return int(changed)


@pytest.fixture
def walled(directory: Path) -> Iterator[Callable[[str], Walled]]:
    if WHY:
        pytest.skip(WHY)
    fetch("firewalls.sh")
    with Systemd(directory) as host:
        yield lambda engine: Walled(host, directory, engine)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["firewalld", "ufw"])
def test_the_port_is_opened_once_to_its_sources(walled: Callable[[str], Walled], engine: str) -> None:
    """The dry run tells of it, the first run does it, the next one has nothing to do; and what is half done is made whole."""
    wall = walled(engine)
    assert wall.open("--check", nbdtun_sources=SOURCES) > 0
    assert wall.reached(*SOURCES) == []
    assert wall.open(nbdtun_sources=SOURCES) > 0
    assert wall.reached(*SOURCES, *STRANGERS) == SOURCES
    assert wall.open(nbdtun_sources=SOURCES) == wall.open("--check", nbdtun_sources=SOURCES) == 0
    wall.host.run(*AGAIN[engine])
    assert wall.reached(*SOURCES, *STRANGERS) == SOURCES
    wall.host.run(*HALF[engine])
    assert len(wall.reached(*SOURCES)) == 1
    assert wall.open(nbdtun_sources=SOURCES) > 0
    assert wall.reached(*SOURCES) == SOURCES
    assert wall.open(nbdtun_sources=SOURCES) == 0
    assert wall.open() > 0
    assert wall.reached(*SOURCES, *STRANGERS) == [*SOURCES, *STRANGERS]
    assert wall.open() == 0
    assert wall.reached(*SOURCES, port=OTHER) == []


@pytest.mark.slow
def test_a_zone_of_firewalld_is_that_of_the_network(walled: Callable[[str], Walled]) -> None:
    """The cable is in another zone than the default one, which is where the port is to be open."""
    wall = walled("firewalld")
    wall.host.run("firewall-cmd", "--zone=internal", "--change-interface=cable")
    assert wall.open() > 0
    assert wall.reached(*SOURCES) == []
    assert wall.open(nbdtun_zone="internal") > 0
    assert wall.reached(*SOURCES) == SOURCES
    assert wall.open(nbdtun_zone="internal") == 0
