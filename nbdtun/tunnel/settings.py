"""The settings of a tunnel: the terms of its channels, the limits of its two ends, and the names of the built-in targets."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping

from attrs import frozen

#: The targets within the destination itself: the control channel of migrations, the :mod:`~nbdtun.tunnel.destination.sink`, and the
#: receiver of one VM, which makes its destination.
CONTROL, SINK, RECEIVER = "control", "sink", "receiver"

BUILT_IN = frozenset({CONTROL, SINK, RECEIVER})

_LONG = re.compile(r"[0-9a-f]{32}")


def shown(target: str) -> str:
    """A target's name for messages: of an id in it, only the first eight digits."""
    return _LONG.sub(lambda found: found[0][:8], target)


def kind_of(target: str) -> str:
    """The name that a session's target shares with those of other sessions: ``nbd`` of ``nbd.`` and an id."""
    return _LONG.sub("", target).strip(".") or target


def labels(target: str, name: str) -> dict[str, str]:
    """What an event about the channel ``name`` to ``target`` is about: the channel, and the session whose target it is."""
    session = _LONG.search(target)
    return {"channel": name} if session is None else {"channel": name, "session": session[0][:8]}


@frozen
class Limits:
    """
    The most that a destination serves at one time.

    ``channels``: in all. ``channels_per_peer``: of one source, identified by its certificate (without TLS: by its address).
    ``handshakes``: connections that are not links yet, counted apart for strangers and for sources with an admitted certificate.
    ``handshakes_per_address``: of strangers from one address.
    """

    channels: int = 1024
    channels_per_peer: int = 512
    handshakes: int = 256
    handshakes_per_address: int = 128


#: What is used of each limit, and the limit, by its option's name; of a limit for each peer or user, by the one that uses the most.
Usage = Mapping[str, tuple[int, int]]


class Records(enum.Enum):
    """
    Who makes a link's TLS records. The other end cannot tell.

    BATCHED: this program, sixteen for one write, under the keys that OpenSSL has agreed on. LIBRARY: OpenSSL, or the kernel.
    """

    BATCHED = "batched"
    LIBRARY = "library"


@frozen
class LocalLimits:
    """
    The most channels that a source's sockets open at one time, those that are being opened included.

    ``channels``: in all. ``channels_per_user``: of one local user.
    """

    channels: int = 1024
    channels_per_user: int = 512


@frozen
class Terms:
    """
    The terms of each channel.

    ``window``: the most bytes that one direction of a channel keeps. ``link_timeout``: seconds without a byte after which a link is
    dead. ``resume_window``: seconds that a channel waits for its next link. ``handshake_timeout``: seconds for a new connection to
    become a link, and for all attempts at a first link. ``records``: who makes the TLS records.
    """

    window: int = 64 * 1024 * 1024
    link_timeout: float = 15.0
    resume_window: float = 300.0
    handshake_timeout: float = 10.0
    records: Records = Records.BATCHED
