"""A stage for whole migrations on paper: both QEMUs, a tunnel of nothing but memory, and a clock that is turned by hand."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, connect

from nbdtun.errors import LinkLost
from nbdtun.migration.carrier import Farewell, Speed
from nbdtun.migration.destination.control import DestinationControl
from nbdtun.migration.destination.sessions import Sessions
from nbdtun.migration.progress import LinkState, Phase, Progress
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.source.migration import Migration
from nbdtun.ownership.reach import Credentials
from tests.migration.stage.paper_qemu import PaperQemu


class PaperIngress:
    def __init__(self, stage: Stage, target: str, name: str) -> None:
        self.stage = stage
        self.target = target
        self.path = f"/run/{name}.sock"
        self.trouble: Exception | None = None
        self.farewell: Farewell | None = None
        self.allowance: int | None = None
        self.allowed: list[int | None] = []

    def allow(self, count: int | None) -> None:
        self.allowance = count
        self.allowed.append(count)

    async def drained(self) -> None:
        if self.stage.never_arrives:
            await Deferred()

    async def close(self) -> None:
        self.stage.ingresses.remove(self)
        if self.target.startswith("ram"):
            self.stage.source.cut_off()


class PaperEgress:
    directory = "/run/egress"

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        stage.egresses.append(self)

    def tie(self, bond: object) -> None:
        """Of the one source that there is."""

    def admit(self, target: str, path: str) -> None:
        self.stage.admitted[target] = path

    async def dismiss(self) -> None:
        self.stage.admitted.clear()

    async def close(self) -> None:
        await self.dismiss()
        self.stage.egresses.remove(self)


class Stage:
    """``source`` and ``destination`` are the QEMUs, ``daemon`` is the Sessions; a Carrier as well."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.source = PaperQemu(self.clock, "web1", **options)
        self.new_destination()
        self.link = LinkState()
        self.rate: float | Exception = 100.0 * (1 << 20)
        self.held = ""
        self.ingresses: list[PaperIngress] = []
        self.egresses: list[PaperEgress] = []
        self.admitted: dict[str, str] = {}
        self.pumps: list[tuple[Any, Any, Any]] = []
        self.reachable, self.silent, self.never_arrives = True, False, False
        self.reports: list[Progress] = []
        self.new_daemon()

    def new_destination(self, **options: Any) -> None:
        self.destination = PaperQemu(self.clock, "web1 at the destination", **{"disks": self.source.disks, "state": "inmigrate"} | options)
        self.source.peer = self.destination

    def new_daemon(self) -> None:
        self.daemon = PaperDestination(self)

    def egress(self, session: str, owner: Credentials) -> PaperEgress:
        return PaperEgress(self)

    # The Carrier.

    async def control(self, protocol: Any) -> Any:
        if not self.reachable:
            raise LinkLost("the destination cannot be reached")
        if self.silent:
            await Deferred()
        server = DestinationControl(self.daemon)
        ends = FakeTransport(server, isServer=True), FakeTransport(protocol, isServer=False)
        self.pumps.append((connect(server, ends[0], protocol, ends[1]), *ends))
        return protocol

    def new_secret(self) -> bytes:
        """The Carrier's."""
        return b""

    async def enter(
        self, target: str, name: str, *, urgent: bool = False, farewell: Farewell | None = None, secret: bytes = b""
    ) -> PaperIngress:
        self.ingresses.append(PaperIngress(self, target, name))
        self.ingresses[-1].farewell = farewell
        return self.ingresses[-1]

    async def throughput(self) -> Speed:
        if isinstance(self.rate, Exception):
            raise self.rate
        return Speed(self.rate, self.held)

    # What the tests do.

    def start(self, **settings: Any) -> Deferred[Progress]:
        self.reports.clear()
        connected = Deferred.fromCoroutine(self.source.connect())
        assert connected.called
        asked = MigrationSettings(vm="web1", **settings)
        self.migration = Migration(
            self.clock, self.source, self, asked, self.reports.append, lambda: 1e9 + self.clock.seconds(), self.clock.seconds
        )
        return Deferred.fromCoroutine(self.migration.run())

    def turn(self, seconds: float, until: Phase | None = None) -> None:
        """Let time pass, from one thing that is due to the next."""
        end = self.clock.seconds() + seconds
        while True:
            self.flush()
            if until is not None and self.reports and self.reports[-1].phase is until:
                return
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            if due > end:
                break
            self.clock.advance(max(0.0, due - self.clock.seconds()))
            if due == end:
                break
        self.clock.advance(end - self.clock.seconds())
        self.flush()

    def flush(self) -> None:
        while any(pump.pump() for pump, *_ in self.pumps):
            pass

    def cut(self) -> None:
        """The control channel ends for good."""
        pumps, self.pumps = self.pumps, []
        for _, *ends in pumps:
            for end in ends:
                end.abortConnection()
                if not end.disconnected:
                    end.disconnected = True
                    end.protocol.connectionLost(Failure(LinkLost("cut")))

    def outcome(self, migration: Deferred[Progress], seconds: float = 900) -> Progress | Exception:
        """How it ended; it must have."""
        results: list[Progress | Failure] = []
        migration.addBoth(results.append)
        end = self.clock.seconds() + seconds
        while not results and self.clock.seconds() < end:
            self.turn(1)
        assert results, f"not ended after {seconds} s: {self.migration!r}"
        self.turn(1)
        result = results[0]
        if isinstance(result, Failure):
            assert isinstance(result.value, Exception)
            return result.value
        return result

    def running(self) -> list[str]:
        """Who runs; never two."""
        return [qemu.name for qemu in (self.source, self.destination) if qemu.alive and qemu.state == "running"]

    def leftovers(self) -> list[str]:
        """What is there that was not there before."""
        found = [f"ingress {ingress.target}" for ingress in self.ingresses] + [f"egress {egress}" for egress in self.egresses]
        for qemu in (self.source, self.destination):
            if qemu.alive:
                found += [f"node {node} of {qemu.name}" for node in qemu.nodes if node not in qemu.disks]
                found += [f"object {ident} of {qemu.name}" for ident in qemu.objects]
                found += [f"job {job} of {qemu.name}" for job in qemu.jobs]
                found += [f"export {export} of {qemu.name}" for export in qemu.exports]
                found += ["NBD server"] if qemu.serving else []
                found += [f"{name} of {qemu.name}" for name, state in qemu.capabilities.items() if state]
        return found


class PaperDestination(Sessions):
    """A Sessions whose monitors are on paper."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.clock, {"web1": "/run/web1-incoming.qmp"}, stage.egress)
        self.stage = stage

    def monitor(self, vm: str) -> PaperQemu:
        return self.stage.destination
