"""The source's side of things: what connects to its sockets becomes channels, and its operator reads what becomes of them."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.task import deferLater

from nbdtun.errors import TargetUnreachable
from nbdtun.tls.trust import Trust
from nbdtun.tunnel.destination.server import Destination
from nbdtun.tunnel.destination.targets import EndpointTarget, Targets
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.settings import Terms
from nbdtun.tunnel.source.client import Source
from nbdtun.tunnel.source.dialer import Dialer
from nbdtun.tunnel.source.forwarder import Forwarder
from tests.tunnel.stage.stage import Stage, all_here


class TestEntrance:
    def test_the_operator_reads_what_went_through(self, stage: Stage, said: list[str]) -> None:
        near, far = stage.meet()
        name = stage.near.name
        near.send(b"12345").shut()
        far.send(b"123").shut()
        stage.pass_time(1)
        assert said == [f"channel {name} is open", f"channel {name} is complete", f"channel {name} is complete: 5 B sent, 3 B received"]

    def test_the_far_reason_is_one_line(self, stage: Stage, said: list[str]) -> None:
        stage.target.refuse("target disk: unix:/run/qemu/nbd.sock: No such file or directory")
        near = stage.arrive()
        stage.rest()
        assert near.got_end, "the local program is not kept waiting"
        assert said == [
            "refused a local peer: target disk: unix:/run/qemu/nbd.sock: No such file or directory [target-unreachable]",
            "target disk: unix:/run/qemu/nbd.sock: No such file or directory [target-unreachable]",
        ]
        assert isinstance(stage.forwarder.trouble, TargetUnreachable)
        stage.cable.cut()
        stage.assert_all_gone()

    def test_a_lost_link_is_one_line_and_its_return_another(self, stage: Stage, said: list[str]) -> None:
        stage.meet()
        said.clear()
        stage.cable.refuses = True
        stage.cable.cut()
        stage.rest()
        assert stage.source.lost_for == 0.0
        stage.cable.refuses = False
        stage.pass_time(1)
        assert stage.source.lost_for is None
        assert len([line for line in said if "link lost" in line]) == 2
        assert len([line for line in said if "link back" in line]) == 2
        assert len(said) == 4

    def test_the_time_without_a_link_is_known(self, stage: Stage) -> None:
        stage.meet()
        stage.cable.refuses = True
        stage.cable.cut()
        stage.pass_time(7)
        assert stage.source.lost_for == pytest.approx(7, abs=0.1)

    def test_one_cut_of_two_channels_is_one_outage(self, stage: Stage) -> None:
        stage.meet()
        stage.meet()
        stage.cable.cut()
        stage.pass_time(2)
        assert stage.source.ledger.whole.resumes == 2
        assert stage.source.runtime.contact.outages == 1

    def test_silence_is_worth_a_word_where_an_answer_is_due(self, stage: Stage) -> None:
        near, _ = stage.meet()
        stage.pass_time(4)
        assert stage.source.silent_for is None  # both ends have nothing to say
        stage.cable.line.stall()
        near.send(bytes(1000))
        stage.pass_time(3.5)
        assert stage.source.silent_for == pytest.approx(5.5, abs=3)
        assert stage.source.ledger.whole.sent == 0

    def test_a_link_that_did_not_come_back_is_given_up(self, stage: Stage) -> None:
        stage.meet()
        stage.cable.refuses = True
        stage.cable.cut()
        stage.pass_time(1)
        assert not stage.source.given_up
        stage.pass_time(stage.source.runtime.terms.resume_window + 1)
        assert stage.source.given_up

    def test_a_bug_in_the_dialling_is_the_channels_end(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else nobody would dial any more, and the local program would wait until the resume window closes."""
        near, _ = stage.meet()

        async def broken(*_: object) -> None:
            raise TypeError("a bug")

        logged: list[BaseException] = []
        monkeypatch.setattr(Dialer, "resume", broken)
        monkeypatch.setattr(stage.source, "log", SimpleNamespace(failure=lambda _, failure: logged.append(failure.value)))
        stage.cable.cut()
        stage.rest()
        assert str(logged[0]) == "a bug"
        assert near.got_end
        assert str(stage.forwarder.trouble) == "internal error: TypeError('a bug')"
        assert not stage.source.channels

    def test_counts_outlive_their_channels(self, stage: Stage) -> None:
        near, far = stage.meet()
        stage.cable.line.stall()
        near.send(bytes(1000))
        stage.rest()
        stage.cable.cut()
        stage.pass_time(1)
        near.shut()
        far.shut()
        stage.pass_time(1)
        assert not stage.source.channels
        whole = stage.source.ledger.whole
        assert (whole.resumes, whole.replayed, whole.sent) == (1, 1000, 1000)

    def test_settling_can_be_given_up(self, stage: Stage) -> None:
        stage.meet()
        outcome: list[object] = []
        waiting = Deferred.fromCoroutine(stage.source.drain(30.0))
        waiting.addBoth(outcome.append)
        waiting.cancel()
        assert isinstance(getattr(outcome[0], "value", None), CancelledError)

    def test_settling_ends_by_itself(self, stage: Stage) -> None:
        stage.meet()
        settled = Deferred.fromCoroutine(stage.source.drain(3.0))
        stage.pass_time(2.9)
        assert not settled.called
        stage.pass_time(0.2)
        assert settled.called

    def test_five_hundred_idle_channels(self, stage: Stage) -> None:
        for _ in range(500):
            stage.arrive()
        stage.pass_time(5)  # those whom the destination has no time for at first come again
        assert len(stage.destination.channels) == 500
        stage.pass_time(40)
        assert stage.source.ledger.whole.resumes == 0
        assert (stage.near_pool.lent, stage.far_pool.lent) == (0, 0)
        Deferred.fromCoroutine(stage.source.stop())
        stage.pass_time(20)
        stage.assert_all_gone()


class TestForReal:
    """Through Twisted's own endpoints, on the real reactor."""

    @pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
    @ensureDeferred
    async def test_from_socket_to_socket(self, tmp_path: Path, tls_dir: Path, secure: bool) -> None:
        from twisted.internet import reactor

        terms = Terms(window=1 << 20)
        targets = Targets()
        targets.add("nbd", EndpointTarget(clientFromString(reactor, f"unix:{tmp_path}/far.sock"), f"unix:{tmp_path}/far.sock"))
        destination = Destination(Runtime(reactor, terms), targets, Trust(tls_dir, server=True) if secure else None)
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(destination)
        address = f"tcp:127.0.0.1:{port.getHost().port}"
        secrets = (Trust(tls_dir, server=False), "localhost") if secure else ()
        source = Source(Dialer(Runtime(reactor, terms), clientFromString(reactor, address), address, *secrets))
        forwarder = Forwarder(source, "nbd")
        door = await serverFromString(reactor, f"unix:{tmp_path}/near.sock").listen(forwarder)

        with socket.socket(socket.AF_UNIX) as far, socket.socket(socket.AF_UNIX) as near:
            near.connect(f"{tmp_path}/near.sock")
            await until(lambda: forwarder.trouble is not None)
            assert str(forwarder.trouble) == f"target nbd: unix:{tmp_path}/far.sock: No such file or directory"
            assert near.recv(1) == b""
            far.bind(f"{tmp_path}/far.sock")
            far.listen()
            with socket.socket(socket.AF_UNIX) as again:
                again.connect(f"{tmp_path}/near.sock")
                again.sendall(b"question")
                again.shutdown(socket.SHUT_WR)
                await until(lambda: any(channel.outbound.done for channel in all_here(source.channels)))
                theirs, _ = far.accept()
                assert theirs.recv(100) == b"question"
                assert theirs.recv(100) == b""
                theirs.sendall(b"answer")
                theirs.close()
                await until(lambda: not source.channels and not destination.channels)
                assert again.recv(100) == b"answer"
        await door.stopListening()
        await port.stopListening()
        await source.stop()
        await destination.stop()

    @pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
    @pytest.mark.parametrize("last_words", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"])
    @ensureDeferred
    async def test_who_resets_his_connection_before_it_is_looked_at(self, tls_dir: Path, last_words: bytes, secure: bool) -> None:
        """As port scanners do. Its socket is dead when it is accepted."""
        from twisted.internet import reactor

        destination = Destination(
            Runtime(reactor, Terms(handshake_timeout=0.2)), Targets(), Trust(tls_dir, server=True) if secure else None
        )
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(destination)
        scanner = socket.create_connection(("127.0.0.1", port.getHost().port))
        scanner.sendall(last_words)
        scanner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        scanner.close()
        await deferLater(reactor, 0.05)
        await until(lambda: not len(destination.admission))
        await port.stopListening()


async def until(condition: object) -> None:
    from twisted.internet import reactor

    assert callable(condition)
    for _ in range(2000):
        if condition():
            return
        await deferLater(reactor, 0.005)
    raise AssertionError("it never came true")
