"""Commands at a host that ssh reaches, one after the other, for the push: each is an ssh of its own, which may ask its user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from nbdtun.deferreds import with_timeout
from nbdtun.errors import ReachError
from nbdtun.process import adopt, quiet_factory
from nbdtun.reach.child import GRACE, Child
from nbdtun.reach.command import SSH_FAILED, failure, ssh_command
from nbdtun.reach.host import Host
from nbdtun.reach.pushing.push import Ran

#: The most bytes of an answer.
MOST: Final = 1 << 20


class _Talking(Protocol):
    """Gives ``stdin`` to a command, and collects its output until it ends."""

    def __init__(self, stdin: bytes) -> None:
        self._stdin = stdin
        self.output = b""
        self.ended: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Send all of it, and say that it was all."""
        assert self.transport is not None
        self.transport.write(self._stdin)
        self.transport.loseWriteConnection()  # type: ignore[attr-defined]

    def dataReceived(self, data: bytes) -> None:
        """Collect it; more than that is no answer to us."""
        assert self.transport is not None
        self.output += data
        if len(self.output) > MOST:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has ended."""
        self.ended.callback(None)


@frozen
class SSHShell:
    """A :class:`~nbdtun.reach.pushing.push.Shell` at ``host``."""

    host: Host

    async def run(self, words: Sequence[str], stdin: bytes, seconds: float) -> Ran:
        """See :meth:`nbdtun.reach.pushing.push.Shell.run`."""
        reactor, address = self.host.reactor, self.host.address
        child = Child(reactor, ssh_command(address, "exec", words, attended=True), apart=False)
        try:
            talking = _Talking(stdin)
            adopt(reactor, child.sock, quiet_factory(lambda: talking))
            child.sock.close()  # the reactor has its own
            late = f"{address}: a command there has not ended in {seconds:g} s"
            await with_timeout(reactor, seconds, talking.ended, lambda: ReachError(late))
            await with_timeout(reactor, GRACE, child.when_over(), lambda: ReachError(late))
        finally:
            await child.end()
        assert child.status is not None
        if child.status == SSH_FAILED:
            raise failure(address, "sh", child.status, child.said)
        return Ran(child.status, talking.output, child.said)
