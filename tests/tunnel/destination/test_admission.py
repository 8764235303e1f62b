"""Who stands at the door, and who has to go when there are too many."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred

from nbdtun.errors import LinkLost
from nbdtun.tunnel.destination.admission import Admission, Caller
from nbdtun.tunnel.settings import Limits


class Transport:
    """As much of a connection at the door as is asked of it."""

    def __init__(self, name: str) -> None:
        self.peer = name
        self.over: Deferred[None] = Deferred()
        self.gone: LinkLost | None = None

    def give_up(self, reason: LinkLost) -> None:
        self.gone = reason
        self.over.callback(None)


def arrive(admission: Admission, address: str, count: int = 1) -> list[Any]:
    came: list[Any] = [Transport(f"{address}:{number}") for number in range(count)]
    for transport in came:
        admission.enter(transport, address)
    return came


def test_a_newcomer_is_never_turned_away() -> None:
    admission = Admission(Limits(handshakes=3))
    came = arrive(admission, "a", 5)
    assert [transport.gone is None for transport in came] == [False, False, True, True, True]
    assert str(came[0].gone) == "a:0: closed to make room; too many connections have not opened a channel yet (--max-handshakes)"
    assert list(admission) == came[2:]
    assert repr(admission) == "<Admission of 3 strangers, 0 known>"


def test_a_flood_displaces_itself() -> None:
    admission = Admission(Limits(handshakes=8))
    (quiet,) = arrive(admission, "quiet")
    for each in range(10):
        arrive(admission, "flood", 10)
        arrive(admission, f"other {each % 3}")
    assert quiet.gone is None
    assert len(admission) == 8


def test_one_address_has_a_limit_of_its_own() -> None:
    admission = Admission(Limits(handshakes=100, handshakes_per_address=2))
    assert [transport.gone is None for transport in arrive(admission, "a", 4)] == [False, False, True, True]


def test_no_stranger_displaces_who_is_known() -> None:
    admission = Admission(Limits(handshakes=2))
    (known,) = arrive(admission, "a")
    admission.recognise(known, "fingerprint")
    admission.recognise(known, "fingerprint")
    arrive(admission, "a", 10)
    assert known.gone is None
    assert len(admission) == 3
    for _ in range(4):
        (another,) = arrive(admission, "b")
        admission.recognise(another, "another fingerprint")
    assert known.gone is None
    assert repr(admission) == "<Admission of 1 strangers, 2 known>"


def test_who_leaves_makes_room() -> None:
    admission = Admission(Limits(handshakes=1))
    (first,) = arrive(admission, "a")
    first.over.callback(None)
    assert len(admission) == 0
    admission.recognise(first, "too late")
    assert len(admission) == 0


@pytest.mark.parametrize(
    ("address", "peer", "counted"),
    [
        (IPv4Address("TCP", "192.0.2.1", 7), "192.0.2.1:7", "192.0.2.1"),
        (IPv6Address("TCP", "2001:db8::1:2:3:4", 7), "[2001:db8::1:2:3:4]:7", "2001:db8::/64"),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 7), "192.0.2.1:7", "192.0.2.1"),
        (IPv6Address("TCP", "fe80::1%eth0", 7), "[fe80::1%eth0]:7", "fe80::/64"),
        (UNIXAddress(None), "a local peer", "local"),
    ],
)
def test_what_counts_as_one_address(address: Any, peer: str, counted: str) -> None:
    caller = Caller.at(address)
    assert (caller.peer, caller.address, caller.owner) == (peer, counted, counted)
