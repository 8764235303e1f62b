"""The opening of a link, at the destination: it answers the one command of a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.protocols import amp
from twisted.python.failure import Failure

from nbdtun.errors import AlreadyComplete, ChannelReset, LinkLost, NotAllowed, ProtocolViolation, TLSError, TunnelError
from nbdtun.tunnel.channels.carried import Carried, Welcome
from nbdtun.tunnel.destination.admission import Admission, Caller, Proof
from nbdtun.tunnel.destination.elsewhere import Passed
from nbdtun.tunnel.opening.commands import TUNNEL, Answer, Greet, OpenChannel, ResumeChannel
from nbdtun.tunnel.opening.transport import Opening, OpeningTransport
from nbdtun.tunnel.runtime.log_limits import RefusalLog
from nbdtun.versions import Agreed


class Answering(Protocol):
    """The destination, as its openings see it."""

    admission: Admission
    refusals: RefusalLog

    async def open(self, ident: bytes, target: str, window: int, caller: Caller, proof: Proof, *, urgent: bool = False) -> Carried:
        """Open a channel, or find it if this is a repeated request."""

    async def find(self, ident: bytes, caller: Caller, proof: Proof) -> Carried:
        """Find an open channel."""

    async def passes_on(self, ident: bytes, target: str, caller: Caller, leave: Callable[[], Passed]) -> bool:
        """Whether a question is for another process, which has got its connection then."""

    def check_again(self, transport: OpeningTransport) -> None:
        """Check that a peer is still trusted that was once (:exc:`TLSError`)."""


class DestinationOpening(Opening):
    """Answers the one command that turns a connection into a link. It refuses ``caller`` until its ``refusal`` is taken away."""

    def __init__(self, destination: Answering, caller: Caller) -> None:
        super().__init__()
        self.caller = caller
        self.refusal: TunnelError | None = NotAllowed(f"{caller.peer}: the destination could not examine it", "see the destination's log")
        self._destination = destination
        self._asked = self._answering = self._gone = False
        self._box = b""

    def dataReceived(self, data: bytes) -> None:
        """Take nothing while a question is answered: a source waits for the answer, so these bytes are for nobody."""
        if self._answering:
            self._spoke_too_soon()
        else:
            super().dataReceived(data)

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """The same for what has come behind the question. Whether it is answered at once must make no difference."""
        if amp.COMMAND in box and self.recvd:
            self._spoke_too_soon()
        else:
            self._box = box.serialize()
            super().ampBoxReceived(box)

    def _spoke_too_soon(self) -> None:
        violation = ProtocolViolation("it sent more before the answer to its question")
        self.command_refused(violation.what)
        self.unhandledError(Failure(violation))

    def locateResponder(self, name: bytes) -> Any:
        """Find no responder for a second command: its channel could not get this connection as its link, and would never end."""
        return None if self._asked else super().locateResponder(name)

    def command_refused(self, reason: str) -> None:
        """Log it, unless the peer is already refused as a whole."""
        if self.refusal is None:
            self._destination.refusals.report(self.caller.address, ProtocolViolation(f"{self.caller.peer}: {reason}"))

    @Greet.responder
    def greet(self, refusal: str | None, **offer: Any) -> dict[str, Any]:
        """Answer a source that only wants to know whether it is admitted; or that does not trust us, and says why."""
        self._asked = True
        if refusal:
            self._destination.refusals.report(self.caller.address, TLSError(f"{self.caller.peer}: it refused our certificate: {refusal}"))
        return self._admit(offer).fields()

    @OpenChannel.responder
    def open_channel(
        self, channel: bytes, secret: bytes | None, session: bytes | None, target: str, window: int, urgent: bool | None, **offer: Any
    ) -> Deferred[Answer]:
        """Open a channel."""
        opening = self._destination.open(channel, target, window, self.caller, Proof(secret, session), urgent=bool(urgent))
        return Deferred.fromCoroutine(self._answer(offer, (channel, target), opening, 0))

    @ResumeChannel.responder
    def resume_channel(self, channel: bytes, secret: bytes | None, received: int, ended: str | None, **offer: Any) -> Deferred[Answer]:
        """Resume a channel; or end it, whose other end is gone."""
        finding = self._destination.find(channel, self.caller, Proof(secret))
        return Deferred.fromCoroutine(self._answer(offer, (channel, ""), finding, received, ended))

    @property
    def _connection(self) -> OpeningTransport:
        assert isinstance(self.transport, OpeningTransport)
        return self.transport

    async def _answer(
        self, offer: Mapping[str, Any], wanted: tuple[bytes, str], finding: Any, received: int, ended: str | None = None
    ) -> Answer:
        self._asked = self._answering = True
        try:
            agreed = await self._check(offer, wanted, finding)
            welcome = await self._take_up(await finding, received, ended)
        except (AlreadyComplete, NotAllowed, TLSError):
            raise
        except TunnelError as refusal:
            if not self._gone:
                self._destination.refusals.report(self.caller.address, type(refusal)(f"{self.caller.peer}: {refusal}"))
            raise
        finally:
            self._answering = False
        return Answer(welcome.link, agreed, welcome.received, welcome.window)

    async def _check(self, offer: Mapping[str, Any], wanted: tuple[bytes, str], finding: Any) -> Agreed:
        """Whether the question is answered, and by this process; an error is heard by nobody where it is not."""
        try:
            agreed = self._admit(offer)
            self._destination.admission.recognise(self._connection, self.caller.owner)
            elsewhere = await self._destination.passes_on(*wanted, self.caller, self._leave)
        except BaseException:
            finding.close()
            raise
        if elsewhere:
            finding.close()
            raise LinkLost("another process answers")
        return agreed

    def _leave(self) -> Passed:
        sock, state = self._connection.move()
        self._gone = True
        return Passed(sock, state, self.caller, self._box)

    def _admit(self, offer: Mapping[str, Any]) -> Agreed:
        if self.refusal is not None:
            raise self.refusal
        return TUNNEL.agree(**offer)

    async def _take_up(self, channel: Carried, received: int, ended: str | None) -> Welcome:
        if ended is not None:
            channel.reset(ChannelReset(ended))
            raise AlreadyComplete(f"channel {channel.name} is ended")
        self._check_link(channel)
        try:
            welcome = await channel.welcome(received)
        except ProtocolViolation as violation:
            channel.reset(violation)
            raise
        except TunnelError as trouble:
            channel.abandoned(trouble)  # one that was made for this connection waits for another
            raise
        self._check_link(channel)  # a worker has been asked meanwhile
        return welcome

    def _check_link(self, channel: Carried) -> None:
        """Whether the connection is still there, and its peer still trusted."""
        if self._connection.wire.closed:
            gone = LinkLost("the connection was lost before the channel was open")
            channel.abandoned(gone)
            raise gone
        try:
            self._destination.check_again(self._connection)
        except TLSError as revoked:
            self._destination.refusals.report(self.caller.address, revoked)
            channel.abandoned(revoked)
            raise
