"""An offer and who comes with a code, over real connections."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater

from nbdtun.errors import NbdtunError, ReachError, TLSError, WrongCode
from nbdtun.process import quiet_factory
from nbdtun.reach.codes import offer as module
from nbdtun.reach.codes.code import Asking
from nbdtun.reach.codes.offer import AskTalk, Found, Greet, Offer, OfferTalk, Prove, Taken, _unverified, take_offer
from nbdtun.reach.codes.secured import Secured
from nbdtun.tls.throwaway import Identity

reactor: Any = _reactor
CODE, OTHER = "7-crossover-clockwork", "8-crossover-clockwork"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.2)
    monkeypatch.setattr(module, "PAUSE", 0.05)


class Stage:
    """A destination with an offer, and a source that may take it."""

    def __init__(self, seconds: float = 10) -> None:
        self.here, self.there = Identity.make(), Identity.make()
        self.offer = Offer(reactor, self.there, CODE)
        self.port = 0
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        self.waiting: Deferred[Taken] = Deferred.fromCoroutine(self.offer.wait(endpoint, seconds, self._listening))

    def _listening(self, port: Any) -> None:
        self.port = port.getHost().port

    def connect(self, protocol: Protocol) -> Deferred[Any]:
        connecting: Deferred[Any] = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port).connect(quiet_factory(lambda: protocol))
        return connecting

    def take(self, code: str = CODE, port: int = 0) -> Deferred[Found]:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port or self.port, timeout=5)
        return Deferred.fromCoroutine(take_offer(reactor, endpoint, self.here, code, 7.5))


@pytest_twisted.ensureDeferred
async def test_both_ends_have_each_others_certificate() -> None:
    stage = Stage()
    taking = stage.take()
    taken = await stage.waiting
    assert taken.certificate == stage.here.certificate
    assert not taking.called  # the destination prepares for links first
    taken.confirm(waits=True)
    assert taken.resume_window == 7.5
    assert await taking == Found(stage.there.certificate, waits=True)
    with pytest.raises(ReachError, match=r"^nobody answers there: Connection refused; is `nbdtun receive` running there"):
        await stage.take()  # nothing listens any more


@pytest_twisted.ensureDeferred
async def test_a_destination_that_cannot_receive_says_why() -> None:
    stage = Stage()
    taking = stage.take()
    (await stage.waiting).refuse(ReachError("no port is free there"))
    with pytest.raises(ReachError, match="no port is free there"):
        await taking


@pytest_twisted.ensureDeferred
async def test_an_offer_that_is_made_again_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another command of the same source has just left."""
    monkeypatch.setattr(module, "AGAIN_SECONDS", 5.0)
    stage, refusals = Stage(), []

    class Busy(Protocol):
        def connectionMade(self) -> None:
            refusals.append(self)
            assert self.transport is not None
            self.transport.loseConnection()

    busy = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(quiet_factory(Busy))
    port: int = busy.getHost().port
    taking = stage.take(port=port)
    while not refusals:
        await deferLater(reactor, 0.01)
    await busy.stopListening()
    again = Offer(reactor, stage.there, CODE).wait(TCP4ServerEndpoint(reactor, port, interface="127.0.0.1"), 10)
    (await Deferred.fromCoroutine(again)).confirm(waits=False)
    assert await taking == Found(stage.there.certificate, waits=False)
    stage.waiting.cancel()
    with pytest.raises(CancelledError):
        await stage.waiting


@pytest_twisted.ensureDeferred
async def test_a_destination_that_another_source_has_come_to() -> None:
    """It takes connections of that one only, by its certificate."""
    there = Identity.make()
    context = there.serving(Identity.make().certificate)

    def secured() -> Secured:
        one = Secured(context, Protocol(), server=True)
        one.shaken.addErrback(lambda failure: failure.trap(TLSError) and None)
        return one

    factory: Any = quiet_factory(secured)
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    with pytest.raises(ReachError, match="another source has come there with the code; wait until it has left"):
        await take_offer(reactor, endpoint, Identity.make(), CODE)
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_wrong_code_is_one_line_at_both_ends_and_the_offer_is_over() -> None:
    stage = Stage()
    taking = stage.take(OTHER)
    with pytest.raises(WrongCode) as there:
        await stage.waiting
    with pytest.raises(WrongCode) as here:
        await taking
    assert str(there.value) == "a source came with a wrong code; the offer has ended; run `nbdtun receive` again for another code"
    assert str(here.value) == "the code is wrong; the destination's offer has ended: let it make another code"
    with pytest.raises(ReachError, match="nobody answers there"):
        await stage.take()
    assert repr(stage.offer) == "<Offer that is over>"


@pytest_twisted.ensureDeferred
async def test_it_stands_for_a_while_only() -> None:
    stage = Stage(seconds=0.1)
    with pytest.raises(ReachError, match="nobody came with the code within 100 ms"):
        await stage.waiting


@pytest_twisted.ensureDeferred
async def test_two_guesses_at_the_same_time_are_one() -> None:
    stage = Stage()
    first, second = stage.take(OTHER), stage.take(OTHER)
    for each in (first, second):
        with pytest.raises((WrongCode, ReachError)):
            await each
    with pytest.raises(WrongCode):
        await stage.waiting


class Stranger(Protocol):
    """Sends what is no TLS, and sees the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.data)

    def connectionLost(self, reason: Any = None) -> None:
        self.gone.callback(None)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.0\r\n\r\n", bytes(1000)])
@pytest_twisted.ensureDeferred
async def test_strangers_cost_it_nothing(data: bytes) -> None:
    stage = Stage()
    stranger = Stranger(data)
    await stage.connect(stranger)
    await stranger.gone
    taking = stage.take()
    (await stage.waiting).confirm(waits=True)
    await taking


@pytest_twisted.ensureDeferred
async def test_only_so_many_wait_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    monkeypatch.setattr(module, "CONNECTION_SECONDS", 0.3)
    stage = Stage()
    strangers = [Stranger(b"") for _ in range(3)]
    for stranger in strangers:
        await stage.connect(stranger)
    for stranger in strangers:
        await stranger.gone
    monkeypatch.setattr(module, "CONNECTION_SECONDS", 10.0)
    taking = stage.take()
    (await stage.waiting).confirm(waits=True)
    await taking


class Odd(AskTalk):
    """A source that asks in its own order."""


async def odd(stage: Stage, *questions: tuple[Any, dict[str, Any]]) -> list[NbdtunError | None]:
    talk = Odd(reactor)
    secured = Secured(_unverified(), talk, server=False)
    await stage.connect(secured)
    await secured.shaken
    told: list[NbdtunError | None] = []
    for command, arguments in questions:
        try:
            await talk.ask(command, seconds=5, **arguments)
            told.append(None)
        except NbdtunError as error:
            told.append(error)
    secured.loseConnection()
    return told


@pytest_twisted.ensureDeferred
async def test_questions_out_of_order_are_no_guess() -> None:
    stage = Stage()
    hello = {"version": 1, "message": Asking(OTHER).message, "certificate": b"c"}
    told = await odd(
        stage, (Prove, {"proof": bytes(32), "resume_window": 1}), (Greet, hello), (Greet, hello), (Greet, hello | {"version": 2})
    )
    assert [type(error).__name__ for error in told] == ["ProtocolViolation", "NoneType", "ProtocolViolation", "VersionMismatch"]
    told = await odd(stage, (Greet, hello | {"message": b"nonsense"}), (Prove, {"proof": bytes(32), "resume_window": 1}))
    assert [str(error) for error in told] == ["a message of the code's exchange that is none", "a proof without a message before it"]
    taking = stage.take()
    (await stage.waiting).confirm(waits=True)
    await taking


@pytest_twisted.ensureDeferred
async def test_a_third_party_in_between_is_found_out() -> None:
    """It shows the source a certificate of its own, and passes on what the source asks."""
    stage, third = Stage(), Identity.make()
    relay = AskTalk(reactor)
    far = Secured(_unverified(), relay, server=False)

    class Passing(OfferTalk):
        @Greet.responder
        def greet(self, **asked: Any) -> Any:  # type: ignore[override]
            return self.respond(lambda: relay.ask(Greet, seconds=5, **asked))

        @Prove.responder
        def prove(self, **asked: Any) -> Any:  # type: ignore[override]
            return self.respond(lambda: relay.ask(Prove, seconds=5, **asked))

    context = third.introducing()
    factory: Any = quiet_factory(lambda: Secured(context, Passing(Offer(reactor, third, CODE)), server=True))
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    await stage.connect(far)
    await far.shaken
    taking = stage.take(port=port.getHost().port)
    with pytest.raises(WrongCode):
        await stage.waiting
    with pytest.raises(WrongCode):
        await taking
    await port.stopListening()
