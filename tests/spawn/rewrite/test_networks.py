"""Network backends and what they need."""

from __future__ import annotations

import pytest

from nbdtun.spawn.values import Network, Role
from tests.spawn.rewrite.stage import line, planned, refused


@pytest.mark.parametrize(
    "option", ["-netdev tap,id=n0,ifname=tap1,script=no", """-netdev '{"type": "tap", "id": "n0", "ifname": "tap1"}'"""]
)
def test_a_tap_must_be_there(option: str) -> None:
    (found,) = planned(option).interfaces
    assert (found.name, found.kind, found.where, found.setting) == ("tap1", Network.TAP, "-netdev n0", "netdev.n0.ifname")


def test_so_must_a_bridge_and_a_device() -> None:
    made = planned("-nic bridge,br=virbr0 -netdev tap,id=n,vhost=on,helper=/usr/lib/h")
    assert [(each.name, each.setting) for each in made.interfaces] == [("virbr0", "nic.br"), ("br0", "netdev.n.br")]
    assert [(path.path, path.role) for path in made.paths[:2]] == [("/dev/vhost-net", Role.ACCESS), ("/usr/lib/h", Role.PRESENT)]
    assert refused(made) == []


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("-nic user,hostfwd=tcp::2222-:22,hostfwd=udp:1.2.3.4:53-:53", [("", 2222, False), ("1.2.3.4", 53, True)]),
        ("-netdev socket,id=n,listen=:1234", [("", 1234, False)]),
        ("-netdev stream,id=n,server=on,addr.type=inet,addr.host=h,addr.port=7", [("h", 7, False)]),
        ("-netdev stream,id=n,addr.type=inet,addr.host=h,addr.port=7", []),
        ("-netdev dgram,id=n,local.type=inet,local.host=h,local.port=7", [("h", 7, True)]),
    ],
)
def test_ports(text: str, ports: list[tuple[str, int, bool]]) -> None:
    made = planned(text)
    assert ([(port.host, port.port, port.udp) for port in made.ports], refused(made)) == (ports, [])


@pytest.mark.parametrize("text", ["-nic none", "-net nic,model=e1000", "-netdev vhost-user,id=n,chardev=c", "-netdev hubport,id=n,hubid=0"])
def test_those_that_need_nothing(text: str) -> None:
    made = planned(text)
    assert (line(made), refused(made)) == (text, [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-netdev tap,id=n,fd=9", "fd=9 is a descriptor that another program passed"),
        ("-netdev tap,id=n,ifname=t,vhostfd=9", "vhostfd=9 is a descriptor"),
        ("-netdev stream,id=n,addr.type=fd,addr.str=9", "addr.type=fd is a descriptor"),
        ("-netdev vhost-vdpa,id=n,vhostdev=/dev/x", "it passes a device of this host through"),
        ("-netdev new,id=n", "the network 'new' is not known to nbdtun"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    assert why in refused(planned(text))[0]
