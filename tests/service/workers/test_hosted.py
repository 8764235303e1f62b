"""A channel of a worker's in the main process: it asks the worker, and counts what that tells."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import AlreadyComplete, ChannelReset, LinkLost, NoAnswer, ResumeRefused, TunnelError
from nbdtun.service.workers.commands import Act
from nbdtun.service.workers.hosted import Hosted
from nbdtun.tls.presented import Presented
from nbdtun.tls.records.state import LinkState
from nbdtun.tunnel.channels.figures import Figures
from nbdtun.tunnel.runtime.contact import Contact
from tests.service.stage import done


class Host:
    """The worker; it answers with what it was given."""

    def __init__(self) -> None:
        self.answer: Mapping[str, Any] | TunnelError = {"received": 7, "window": 9, "turn": 1}
        self.told: list[tuple[Any, dict[str, Any]]] = []
        self.attached: list[tuple[bytes, int]] = []

    async def ask(self, command: Any, *, seconds: float | None, **arguments: Any) -> Mapping[str, Any]:
        if isinstance(self.answer, TunnelError):
            raise self.answer
        return self.answer

    def notify(self, command: Any, **arguments: Any) -> None:
        self.told.append((command, arguments))

    def attach(self, ident: bytes, turn: int, sock: socket.socket, state: LinkState | None) -> None:
        self.attached.append((ident, turn))


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def contact() -> Contact:
    return Contact(Clock().seconds)


@pytest.fixture
def channel(host: Host, contact: Contact) -> Hosted:
    return Hosted(host, b"i" * 16, "disk", contact)


def test_a_welcome_is_the_workers(channel: Hosted) -> None:
    welcome = done(channel.welcome(3))
    assert (welcome.received, welcome.window) == (7, 9)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (None, AlreadyComplete, "channel disk 69696969 has ended"),
        (ChannelReset("the source gave up"), ChannelReset, "the source gave up"),
        (LinkLost("no new link"), ResumeRefused, "no new link"),
    ],
)
def test_one_that_has_ended_meanwhile_says_how(
    channel: Hosted, host: Host, error: TunnelError | None, kind: type[TunnelError], text: str
) -> None:
    host.answer = ResumeRefused("the worker has no such channel")
    channel.over(error)
    refused = done(channel.welcome(3))
    assert (type(refused), str(refused)) == (kind, text)


def test_one_that_the_worker_refuses(channel: Hosted, host: Host) -> None:
    host.answer = ResumeRefused("a resume at offset 3, but 7 bytes had already arrived")
    assert done(channel.welcome(3)) is host.answer


def test_a_source_of_one_that_is_too_busy_dials_again(channel: Hosted, host: Host) -> None:
    """The protocol has one code for that; any other would end the channel at some sources."""
    host.answer = NoAnswer("worker 7 has not answered Resume for 10 s")
    refused = done(channel.welcome(3))
    assert (type(refused), str(refused)) == (LinkLost, "worker 7 has not answered Resume for 10 s")


def test_what_it_is_told_reaches_the_worker(channel: Hosted, host: Host) -> None:
    channel.reset(ChannelReset("over"))
    channel.refused(ResumeRefused("unknown"))
    channel.abandoned(LinkLost("gone"))
    channel.cut(OSError("broken"))
    channel.leave("left")
    assert {command for command, _ in host.told} == {Act}
    assert [(told["what"], told["code"], told["reason"]) for _, told in host.told] == [
        ("reset", "reset", "over"),
        ("refused", "resume-refused", "unknown"),
        ("abandoned", "link-lost", "gone"),
        ("cut", "link-lost", "broken"),
        ("leave", "tunnel", "left"),
    ]


class Leaving:
    """A connection whose answer is written, or not wholly; its ``wire`` moves, or cannot."""

    def __init__(self, rest: memoryview | None = None, stays: bool = False) -> None:
        self.rest, self.stays = rest, stays
        self.wire, self.closed, self.presented = self, False, Presented((b"certificate",), "nbdtun/1")

    def release(self) -> tuple[Any, memoryview | None]:
        return self.wire, self.rest

    def move(self) -> tuple[Any, None]:
        if self.stays:
            raise LinkLost("it broke off before it could be moved to another process")
        return None, None

    def close(self) -> None:
        self.closed = True


def test_a_link_is_passed_on_with_who_is_at_its_other_end(channel: Hosted, host: Host) -> None:
    transport: Any = Leaving()
    channel.pass_on(transport, 3)
    assert host.attached == [(channel.ident, 3)]
    assert channel.presented == transport.presented
    channel.over(None)
    assert channel.presented is None


@pytest.mark.parametrize("broken", [Leaving(rest=memoryview(b"of the answer")), Leaving(stays=True)])
def test_a_link_that_cannot_be_passed_on_is_closed(channel: Hosted, host: Host, broken: Any) -> None:
    """Its source dials again."""
    channel.pass_on(broken, 3)
    assert (broken.closed, host.attached, channel.presented) == (True, [], None)
    assert [told["what"] for _, told in host.told] == ["abandoned"]


def test_that_it_is_over_is_known_before_that_all_has_arrived(channel: Hosted) -> None:
    """Who waits for the latter must find the error."""
    heard: list[object] = []
    channel.delivered.addCallback(lambda _: heard.append("delivered"))
    channel.ended.addCallback(heard.append)
    error = ChannelReset("the target has gone")
    channel.over(error)
    assert heard == [error, "delivered"]


def test_lost_links_are_counted_as_if_they_were_here(channel: Hosted, contact: Contact) -> None:
    """Also those that were lost and came back between two looks."""
    channel.hear(Figures(linked=True))
    assert contact.losses == 0
    channel.hear(Figures(since=3.0))
    assert (contact.losses, channel.figures.since) == (1, 3.0)
    channel.hear(Figures(linked=True, resumes=1))
    channel.hear(Figures(linked=True, resumes=3))
    assert contact.losses == 3
    channel.hear(Figures(since=9.0, resumes=4))
    assert contact.losses == 5
    endings: list[object] = []
    channel.ended.addCallback(endings.append)
    channel.over(None)
    channel.over(ChannelReset("again"))
    assert (endings, channel.error, channel.figures.since) == ([None], None, None)
    assert contact.outages == 1


def test_all_may_have_arrived_before_it_is_over(channel: Hosted) -> None:
    heard: list[object] = []
    channel.delivered.addCallback(lambda _: heard.append("delivered"))
    channel.ended.addCallback(lambda _: heard.append("ended"))
    channel.arrived()
    channel.over(None)
    assert heard == ["delivered", "ended"]


def closed(program: socket.socket) -> bool:
    """Whether a local program hears that its connection has ended."""
    program.setblocking(False)
    try:
        return program.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_local_program_hears_last_of_a_worker_that_was_killed(channel: Hosted) -> None:
    """After who waits for the channel, and after the farewell."""
    program, channel.kept = socket.socketpair()
    parting: Deferred[None] = Deferred()
    channel.farewell = lambda: parting
    channel.ended.addCallback(lambda _: said.append(closed(program)))
    said: list[bool] = []
    channel.bereave(ChannelReset("worker 7 has ended"))
    assert (said, closed(program)) == ([False], False)
    parting.callback(None)
    assert closed(program)


def test_no_farewell_for_a_program_that_has_ended_its_stream(channel: Hosted) -> None:
    program, channel.kept = socket.socketpair()
    channel.farewell = lambda: pytest.fail("it knows already")
    program.shutdown(socket.SHUT_WR)
    channel.bereave(ChannelReset("worker 7 has ended"))
    assert closed(program)


def test_the_socket_goes_with_the_channel(channel: Hosted) -> None:
    program, channel.kept = socket.socketpair()
    assert done(channel.part()) is None
    channel.over(None)
    assert closed(program)
