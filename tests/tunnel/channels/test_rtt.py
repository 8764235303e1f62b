"""How far the other end is."""

from __future__ import annotations

from nbdtun.tunnel.channels.rtt import NEAR, RoundTrip
from nbdtun.tunnel.protocol.frames import HEADER, Kind


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.25

    def __call__(self) -> float:
        return self.now


def token(ping: bytes) -> int:
    kind, length, token = HEADER.unpack(ping)
    assert (kind, length) == (Kind.PING, 0)
    assert isinstance(token, int)
    return token


def test_the_shortest_of_three_answers_counts() -> None:
    clock = Clock()
    round_trip = RoundTrip(clock)
    ping = round_trip.ping()
    assert round_trip.bdp is None
    for seconds in (0.050, 0.020, 0.090):
        asked = token(ping)
        clock.now += seconds
        ping = round_trip.answered(asked)
    assert ping == b"", "three are enough"
    assert round_trip.bdp is not None
    assert abs(round_trip.bdp - 0.020 * 1.25e9) < 5000


def test_later_answers_count_too_but_ask_no_more() -> None:
    clock = Clock()
    round_trip = RoundTrip(clock)
    for seconds in (0.5, 0.5, 0.5, 0.1):
        asked = token(round_trip.ping())
        clock.now += seconds
        again = round_trip.answered(asked)
    assert again == b""
    assert repr(round_trip) == f"<RoundTrip bdp={round_trip.bdp}>"
    assert round_trip.bdp is not None
    assert round_trip.bdp < 0.2 * 1.25e9


def test_next_door_something_may_still_be_under_way() -> None:
    clock = Clock()
    round_trip = RoundTrip(clock)
    round_trip.answered(token(round_trip.ping()))
    assert round_trip.bdp == NEAR


def test_a_peer_that_answers_what_was_never_asked_hurts_nobody() -> None:
    for lie in (0, 1, 2**64 - 1):
        round_trip = RoundTrip(Clock())
        round_trip.answered(lie)
        assert round_trip.bdp is not None
        assert round_trip.bdp >= NEAR
