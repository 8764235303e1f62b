"""A host that ssh reaches, and connections to the nbdtun there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from nbdtun.config.ssh import SSHAddress
from nbdtun.deferreds import with_timeout
from nbdtun.errors import LinkLost, ReachError
from nbdtun.process import Reactor, adopt, quiet_factory
from nbdtun.reach.child import GRACE, Child
from nbdtun.reach.command import failure, resolve_command, resolved, ssh_command
from nbdtun.reach.greeting import Calling, Mark

#: Seconds until the far end has spoken: for a connection at which somebody types a password, and for one that asks nobody.
ATTENDED: Final = 300.0
UNATTENDED: Final = 30.0

#: Seconds until a signal has been heard that ssh has ended by.
CTRL_C: Final = 0.2

#: The most bytes of a command's output that are kept.
MAX_OUTPUT: Final = 64 * 1024


@frozen
class Call:
    """A connection to the far end whose marker has come: ``calling`` gives it away, ``child`` is its ssh."""

    child: Child
    calling: Calling
    mark: Mark


class _Collecting(Protocol):
    """Keeps the begin of a command's output."""

    def __init__(self) -> None:
        self.output = b""
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.output = (self.output + data)[:MAX_OUTPUT]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Its output has ended."""
        if not self.ended.called:
            self.ended.callback(None)


@frozen
class Host:
    """The host at ``address``, where the command ``remote`` is nbdtun: a part of a shell's command line."""

    reactor: Reactor
    address: SSHAddress
    remote: str = "nbdtun"

    async def call(self, words: Sequence[str], line: bytes, *, attended: bool, proof: str = "-") -> Call:
        """
        Run nbdtun there with ``words`` as its arguments, say ``line`` to it, and wait for its marker, with this ``proof``.

        :raise NotInstalled: there is no nbdtun, or one that speaks another version.
        :raise ReachError: ssh failed, or the far end did not answer.
        """
        child = Child(self.reactor, ssh_command(self.address, self.remote, words, attended=attended), apart=not attended)
        try:
            calling = Calling(line)
            adopt(self.reactor, child.sock, quiet_factory(lambda: calling))
            child.sock.close()  # the reactor has its own
            seconds = ATTENDED if attended else UNATTENDED
            late = f"{self.address}: no answer in {seconds:g} s"
            mark = await with_timeout(self.reactor, seconds, calling.met, lambda: ReachError(late))
            mark.check(proof)
        except LinkLost as lost:
            error = await self._explain(child, lost)
            if attended:  # a Ctrl-C at ssh's question was for us too, and may be heard after ssh's end
                await deferLater(self.reactor, CTRL_C)
            raise error from None
        except BaseException:
            await child.end()
            raise
        return Call(child, calling, mark)

    async def name(self) -> str:
        """The host name or address that ssh itself connects to, as its configuration has it (``ssh -G``)."""
        child = Child(self.reactor, resolve_command(self.address), apart=True)
        try:
            collecting = _Collecting()
            adopt(self.reactor, child.sock, quiet_factory(lambda: collecting))
            child.sock.close()
            await with_timeout(self.reactor, GRACE, collecting.ended, TimeoutError)
        except TimeoutError:
            return self.address.host
        finally:
            await child.end()
        return resolved(collecting.output.decode("utf-8", "replace")) or self.address.host

    async def _explain(self, child: Child, lost: LinkLost) -> ReachError:
        """Why ssh has ended."""
        try:
            await with_timeout(self.reactor, GRACE, child.when_over(), TimeoutError)
        except TimeoutError:
            await child.end()
            return ReachError(f"{self.address}: {lost}")
        assert child.status is not None
        return failure(self.address, self.remote, child.status, child.said)
