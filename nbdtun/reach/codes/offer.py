"""
An offer: a destination waits for the one source that knows its code, for a while; and the source's half of that.

The first connection is TLS with the destination's certificate only, which nobody vouches for yet. Two questions cross it: the messages of
the exchange, and the proofs over both certificates (:mod:`.code`). A wrong proof ends the offer. A connection that ends before its proof
was no guess: it has learnt nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, ClassVar, Final

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IDelayedCall, IProtocol, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.task import deferLater

from nbdtun.amp import CheckedCommand, Flag, Number
from nbdtun.deferreds import stopped, with_timeout
from nbdtun.dialogue import Dialogue
from nbdtun.errors import LinkLost, NbdtunError, ProtocolViolation, ReachError, VersionMismatch, WrongCode, wire_errors
from nbdtun.logs import make_logger
from nbdtun.process import Reactor, quiet_factory, why_unconnected
from nbdtun.reach.codes.code import MAX_MESSAGE, PROOF, VERSION, Answering, Asking
from nbdtun.reach.codes.secured import Secured
from nbdtun.reach.commands import MAX_CERTIFICATE, Bytes
from nbdtun.tls.contexts import harden
from nbdtun.tls.throwaway import Identity
from nbdtun.units import duration_text

#: Seconds that a connection has for its two questions, and the most connections at a time.
CONNECTION_SECONDS: Final = 30.0
MOST: Final = 16

#: Seconds that the source waits for the destination to listen for its links.
READY_SECONDS: Final = 30.0

#: Seconds for which the source waits for an offer that is made again, and between two attempts.
AGAIN_SECONDS: Final = 3.0
PAUSE: Final = 0.2

_REMEDY: Final = "is `nbdtun receive` running there?"
#: Of a port where a certificate is asked for.
_TAKEN: Final = "wait until it has left; or give --tls-dir, and no code, if `nbdtun dest` listens there"


class _Question(CheckedCommand):
    errors = wire_errors(NbdtunError)
    fatal = False


class Greet(_Question):
    """The source's version of the exchange, its message and its certificate; the answer is the destination's message."""

    arguments: ClassVar = [(b"version", Number(2**31)), (b"message", Bytes(MAX_MESSAGE)), (b"certificate", Bytes(MAX_CERTIFICATE))]
    response: ClassVar = [(b"message", Bytes(MAX_MESSAGE))]


class Prove(_Question):
    """
    The source's proof, and the milliseconds for which it tries a lost link. The answer is the destination's proof, which listens for links
    then, and whether a QEMU waits there for the VM.
    """

    arguments: ClassVar = [(b"proof", Bytes(PROOF)), (b"resume_window", Number(7 * 86400 * 1000))]
    response: ClassVar = [(b"proof", Bytes(PROOF)), (b"waits", Flag())]


@frozen
class Taken:
    """
    The offer was taken, by the source with this ``certificate``, which tries a lost link for ``resume_window`` seconds. It is told so by
    :meth:`confirm`, once its links can come.
    """

    certificate: bytes
    resume_window: float
    _confirmed: Deferred[bool]

    def confirm(self, *, waits: bool) -> None:
        """Answer the source: links can come. ``waits`` is whether a QEMU waits for the VM."""
        self._confirmed.callback(waits)

    def refuse(self, error: NbdtunError) -> None:
        """Answer the source that they cannot."""
        self._confirmed.errback(error)


@frozen
class Found:
    """The destination that a code led to: its ``certificate``, and whether a QEMU ``waits`` there for the VM."""

    certificate: bytes
    waits: bool


class Offer:
    """An offer of the destination with this ``identity`` to whoever knows ``code``."""

    log = make_logger()

    def __init__(self, reactor: Reactor, identity: Identity, code: str) -> None:
        self.reactor = reactor
        self.identity = identity
        self.code = code
        self._context = identity.introducing()
        self._found: Deferred[Taken] = Deferred()
        self._over = False
        self._talks: dict[OfferTalk, IDelayedCall] = {}

    def __repr__(self) -> str:
        return f"<Offer {'that is over' if self._over else 'that stands'}>"

    async def wait(self, endpoint: IStreamServerEndpoint, seconds: float, listening: Callable[[Any], object] = lambda port: None) -> Taken:
        """
        Listen on ``endpoint`` until the offer is taken; returns when nothing listens there any more. ``listening`` is told the port.

        :raise WrongCode: the guess was wrong.
        :raise ReachError: nobody came within ``seconds``.
        """
        port = await endpoint.listen(quiet_factory(self._connected))
        try:
            listening(port)
            late = f"nobody came with the code within {duration_text(seconds)}"
            remedy = "run `nbdtun receive` again for another code"
            taken = await with_timeout(self.reactor, seconds, self._found, lambda: ReachError(late, remedy))
        except BaseException:
            self._over = True
            self._end_all()
            raise
        finally:
            await stopped(port)
        return taken

    def _connected(self) -> IProtocol:
        talk = OfferTalk(self)
        secured = Secured(self._context, talk, server=True)
        secured.shaken.addErrback(lambda _: self._forget(talk))  # a stranger
        for old in list(self._talks)[: max(0, len(self._talks) - MOST + 1)]:
            self._drop(old)
        self._talks[talk] = self.reactor.callLater(CONNECTION_SECONDS, self._drop, talk)
        talk.below = secured
        talk.when_lost().addCallback(lambda _: self._forget(talk))
        return secured

    def _forget(self, talk: OfferTalk) -> None:
        timer = self._talks.pop(talk, None)
        if timer is not None and timer.active():
            timer.cancel()

    def _drop(self, talk: OfferTalk) -> None:
        self._forget(talk)
        if talk.below is not None:
            talk.below.abortConnection()

    def _end_all(self) -> None:
        for talk in tuple(self._talks):
            self._forget(talk)
            if talk.below is not None:
                talk.below.loseConnection()

    async def take(self, answering: Answering, proof: bytes, certificate: bytes, resume_window: float) -> dict[str, Any]:
        """
        Somebody has a proof: the one guess. Returns the answer, with our own proof, when links can come.

        :raise WrongCode: it is wrong, or another one was.
        :raise NbdtunError: links cannot come.
        """
        if self._over:
            raise WrongCode("the offer has ended", "let the destination make another code")
        try:
            answer = answering.check(proof, certificate, self.identity.certificate)
        except WrongCode as wrong:
            self._over = True
            self.reactor.callLater(0, self._found.errback, wrong)  # the answer goes first
            raise WrongCode("the code is wrong", "the destination's offer has ended: let it make another code") from None
        self._over = True
        confirmed: Deferred[bool] = Deferred()
        self._found.callback(Taken(certificate, resume_window, confirmed))
        return {"proof": answer, "waits": await confirmed}


class OfferTalk(Dialogue):
    """The destination's end of one connection: it answers each question once."""

    log = make_logger()
    failed = ReachError
    channel = "connection with a code"
    other = "the source"
    here = "at the destination"

    def __init__(self, offer: Offer) -> None:
        super().__init__(offer.reactor)
        self.below: Secured | None = None
        self._offer = offer
        self._answering: Answering | None = None
        self._certificate = b""

    @Greet.responder
    def greet(self, version: int, message: bytes, certificate: bytes) -> Deferred[Any]:
        async def answer() -> dict[str, Any]:
            if version != VERSION:
                raise VersionMismatch(f"the source speaks version {version} of the code's exchange, the destination {VERSION}")
            if self._answering is not None:
                raise ProtocolViolation("a second attempt over one connection")
            answering = Answering(self._offer.code)
            answering.meet(message)
            self._answering, self._certificate = answering, certificate
            return {"message": answering.message}

        return self.respond(answer)

    @Prove.responder
    def prove(self, proof: bytes, resume_window: int) -> Deferred[Any]:
        async def answer() -> dict[str, Any]:
            answering, self._answering = self._answering, None
            if answering is None:
                raise ProtocolViolation("a proof without a message before it")
            return await self._offer.take(answering, proof, self._certificate, resume_window / 1000)

        return self.respond(answer)


class AskTalk(Dialogue):
    """The source's end: it asks, and answers nothing."""

    log = make_logger()
    failed = ReachError
    channel = "connection with a code"
    other = "the destination"
    here = "at the source"


async def take_offer(
    reactor: Reactor, endpoint: IStreamClientEndpoint, identity: Identity, code: str, resume_window: float = 300.0
) -> Found:
    """
    Take the offer at ``endpoint`` with its code; returns the destination that knows our certificate now.

    A destination that another command of ours has just left makes its offer again soon: it is waited for.

    :raise WrongCode: the code is not the destination's, or somebody is in between. It takes no other.
    :raise NbdtunError: the destination cannot be reached, offers nothing, or cannot receive.
    """
    until = reactor.seconds() + AGAIN_SECONDS
    while True:
        taking = _Taking(reactor, identity, code)
        try:
            return await taking.take(endpoint, resume_window)
        except ReachError:
            if taking.guessed or reactor.seconds() >= until:
                raise
        await deferLater(reactor, PAUSE)


class _Taking:
    """One attempt to take an offer; one that has ``guessed`` has shown its proof."""

    def __init__(self, reactor: Reactor, identity: Identity, code: str) -> None:
        self._reactor = reactor
        self._identity = identity
        self._code = code
        self._talk = AskTalk(reactor)
        self._secured = Secured(_unverified(), self._talk, server=False)
        self.guessed = False

    async def take(self, endpoint: IStreamClientEndpoint, resume_window: float) -> Found:
        """
        Take it.

        :raise NbdtunError: as of :func:`take_offer`.
        """
        late = f"no answer in {CONNECTION_SECONDS:g} s"
        connecting: Deferred[Any] = endpoint.connect(quiet_factory(lambda: self._secured))
        try:
            await with_timeout(self._reactor, CONNECTION_SECONDS, connecting, TimeoutError)
            certificate = await with_timeout(self._reactor, CONNECTION_SECONDS, self._secured.shaken, TimeoutError)
            return await self._exchange(certificate, resume_window)
        except LinkLost as lost:
            if self._secured.wants_certificate:
                raise ReachError("another source has come there with the code", _TAKEN) from lost
            raise ReachError(f"nobody answers with a code there: {lost}", _REMEDY) from lost
        except (ConnectError, OSError, TimeoutError) as error:
            raise ReachError(f"nobody answers there: {why_unconnected(error) or late}", _REMEDY) from error
        except CancelledError:
            self._secured.abortConnection()
            raise
        finally:
            self._secured.loseConnection()

    async def _exchange(self, destination: bytes, resume_window: float) -> Found:
        asking, own, ask = Asking(self._code), self._identity.certificate, self._talk.ask
        answer = await ask(Greet, seconds=CONNECTION_SECONDS, version=VERSION, message=asking.message, certificate=own)
        asking.meet(answer["message"])
        proof, milliseconds = asking.proof(own, destination), round(resume_window * 1000)
        self.guessed = True
        answer = await ask(Prove, seconds=READY_SECONDS, proof=proof, resume_window=milliseconds)
        asking.check(answer["proof"], own, destination)
        return Found(destination, answer["waits"])


def _unverified() -> ssl.SSLContext:
    """A client's context that takes any certificate: what it is worth is proved by the code."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    harden(context)
    return context
