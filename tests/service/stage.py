"""Both services of a tunnel in one process, and a program at either side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from nbdtun.config import VM, DestinationSettings, Forward, MigrateSettings, SourceSettings, Target, TunnelSettings
from nbdtun.migration.settings import MigrationSettings
from nbdtun.service.destination import DestinationService
from nbdtun.service.source import SourceService
from nbdtun.service.workers.crew import Workers


class Echo(Protocol):
    """The program at the target."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Asking(Protocol):
    """The program at the source: what it gets is there when ``count`` bytes are."""

    def __init__(self) -> None:
        self.got = b""
        self.count = 0
        self.whole: Deferred[bytes] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def ask(self, data: bytes) -> Deferred[bytes]:
        assert self.transport is not None
        self.got, self.count, self.whole = b"", len(data), Deferred()
        self.transport.write(data)
        return self.whole

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        if len(self.got) >= self.count:
            self.whole.callback(self.got)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


def migration_settings(base: Path, **tunnel: Any) -> MigrateSettings:
    """A migration of web1, whose sockets would all be in ``base``."""
    base.mkdir(exist_ok=True)
    return MigrateSettings(
        tunnel=TunnelSettings(run_dir=str(base), **tunnel),
        connect="tcp:127.0.0.1:9",  # nobody listens there
        qmp=f"{base}/web1.qmp",
        migration=MigrationSettings(vm="web1"),
    )


def done(work: Any) -> Any:
    """What has come of it, at once."""
    got: list[Any] = []
    ended = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
    ended.addCallbacks(got.append, lambda failure: got.append(failure.value))
    return got[0]


class Way:
    """The way from ``in.sock`` to ``out.sock``, both beside ``base``."""

    def __init__(self, base: Path) -> None:
        base.mkdir()
        self.base = base
        self.tunnel, self.entrance, self.exit = (base.parent / f"{name}.sock" for name in ("tunnel", "in", "out"))
        self.settings = TunnelSettings(run_dir=str(base), resume_window=1.0)
        self.workers: Workers | None = None  # of either end

    def source(self, **more: Any) -> SourceService:
        forwards = (Forward("nbd", f"unix:{self.entrance}"),)
        settings = SourceSettings(tunnel=self.settings, connect=f"unix:{self.tunnel}", forwards=forwards, **more)
        return SourceService(reactor, settings, self.workers)

    def destination(self, **more: Any) -> DestinationService:
        targets, vms = (Target("nbd", f"unix:{self.exit}"),), (VM("web1", f"{self.base}/web1.qmp"),)
        settings = DestinationSettings(tunnel=self.settings, listen=f"unix:{self.tunnel}", targets=targets, vms=vms, **more)
        return DestinationService(reactor, settings, workers=self.workers)

    async def serve(self) -> IListeningPort:
        """Let something listen at the target."""
        factory = Factory.forProtocol(Echo)
        factory.noisy = False
        port: IListeningPort = await UNIXServerEndpoint(reactor, str(self.exit)).listen(factory)
        return port

    async def enter(self) -> Asking:
        """Connect at the source."""
        program: Asking = await connectProtocol(UNIXClientEndpoint(reactor, str(self.entrance)), Asking())
        return program

    def left(self) -> list[str]:
        """Files, without the directory's lock."""
        return sorted(path.name for path in self.base.parent.rglob("*") if path.name not in ("run", ".lock", "lock"))
