"""One migration with its tunnel: for the command, for ``twistd nbdtun-source --migrate``, and for embedders."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed

from nbdtun.config import MigrateSettings
from nbdtun.config.libvirt import DomainSettings
from nbdtun.deferreds import end_of, shield
from nbdtun.display.lines import line
from nbdtun.display.words import PHASES
from nbdtun.errors import LinkLost, MigrationError, NbdtunError, OutcomeUnknown, ReachError
from nbdtun.libvirt.near.departure import Departure
from nbdtun.libvirt.near.resolve import Settlement
from nbdtun.logs import about, make_logger
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.finding import Level
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.source.migration import Migration
from nbdtun.migration.source.rescue import Rescue
from nbdtun.migration.source.resolve import Resolution
from nbdtun.migration.supervision.moment import Moment
from nbdtun.process import Reactor
from nbdtun.service.checks.preflight import begin, source_of, the_rest
from nbdtun.service.control.audience import Audience
from nbdtun.service.control.migration import MigrationControl
from nbdtun.service.control.names import Name
from nbdtun.service.control.socket import ControlSocket
from nbdtun.service.libvirt import migration as domain
from nbdtun.service.local.monitors import Hold
from nbdtun.service.local.rundir import RunDir, give_to_qemu
from nbdtun.service.planning import make_with, needs_making
from nbdtun.service.tunnel.build import make_source
from nbdtun.service.tunnel.carrier import TunnelCarrier
from nbdtun.service.tunnel.far import Far, far_of
from nbdtun.service.workers.crew import Workers
from nbdtun.service.workers.hired import Hired, useful
from nbdtun.tunnel.source.client import Source

#: Seconds for the channels to end by themselves after the migration, and for their last frames to arrive.
SETTLE = 3.0

Work = type[Migration] | type[Resolution] | type[Rescue]


def migrate(
    reactor: Reactor,
    settings: MigrateSettings | DomainSettings,
    report: Callable[[Progress], None] = lambda progress: None,
    log: Callable[[], str | None] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
    meet: Callable[[Source], None] = lambda source: None,
    moment: Moment | None = None,
    workers: Workers | None = None,
) -> Deferred[Progress]:
    """
    Migrate one VM: of a QEMU, or of libvirt's.

    ``report`` is called with each new :class:`~nbdtun.migration.progress.Progress`; the Deferred fires with the last one, whose phase is
    ``COMPLETED``. Cancelling it rolls the migration back, while that is possible. ``log`` returns where messages are now to be found, for
    ``nbdtun status``; None where its user sees them. ``say`` is called with a line about the way to a destination that ssh reaches,
    ``meet`` with the end of the tunnel, once it is made. With a ``moment``, the caller chooses when a QEMU's guest is switched over, and
    not the settings. ``workers`` have the channels, if there are to be some.

    :raise OutcomeUnknown: (in the Deferred) the VM is paused at the source, and may run at the destination.
    :raise GuestLost: (in the Deferred) the VM has run at the destination, and was lost there; it is paused at the source.
    :raise NbdtunError: (in the Deferred) the migration failed, and the VM runs at the source.
    :raise ConfigError: (in the Deferred) the certificates cannot be used.
    """
    audience = Audience(report, log, say, meet)
    return _begin(reactor, settings, audience, Departure, Migration, moment=moment, workers=workers)


def resolve(
    reactor: Reactor,
    settings: MigrateSettings | DomainSettings,
    report: Callable[[Progress], None] = lambda progress: None,
    log: Callable[[], str | None] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
    meet: Callable[[Source], None] = lambda source: None,
) -> Deferred[Progress]:
    """
    Ask the destination again what became of a migration whose outcome was unknown, and end it one way or the other.

    The Deferred fires with a :class:`~nbdtun.migration.progress.Progress` whose phase is ``COMPLETED`` if the VM is at the destination.

    :raise OutcomeUnknown: (in the Deferred) the outcome is still unknown; the VM stays paused at the source.
    :raise GuestLost: (in the Deferred) the VM was lost at the destination after its arrival; it stays paused at the source.
    :raise NbdtunError: (in the Deferred) the VM did not arrive and runs at the source again, or there was nothing to resolve.
    :raise ConfigError: (in the Deferred) the certificates cannot be used.
    """
    audience = Audience(report, log, say, meet)
    return _begin(reactor, settings, audience, Settlement, Resolution)


def recover(
    reactor: Reactor,
    settings: MigrateSettings | DomainSettings,
    report: Callable[[Progress], None] = lambda progress: None,
    log: Callable[[], str | None] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
    meet: Callable[[Source], None] = lambda source: None,
) -> Deferred[Progress]:
    """
    End a migration whose process was killed, one way or the other, and begin no other; as :func:`migrate` does it first.

    The Deferred fires with a :class:`~nbdtun.migration.progress.Progress` whose phase is ``COMPLETED`` if the VM is at the destination.

    :raise OutcomeUnknown: (in the Deferred) it is unknown whether the VM runs there; it stays paused at the source.
    :raise GuestLost: (in the Deferred) the VM was lost at the destination after its arrival; it stays paused at the source.
    :raise NbdtunError: (in the Deferred) the VM is at the source, as it was before.
    :raise ConfigError: (in the Deferred) the certificates cannot be used.
    """
    audience = Audience(report, log, say, meet)
    return _begin(reactor, settings, audience, Settlement, Rescue)


def _begin(
    reactor: Reactor,
    settings: MigrateSettings | DomainSettings,
    audience: Audience,
    of_libvirt: domain.Work,
    of_qemu: Work,
    *,
    moment: Moment | None = None,
    workers: Workers | None = None,
) -> Deferred[Progress]:
    """Do one kind of work or the other, by whose VM it is."""
    if isinstance(settings, DomainSettings):
        return Deferred.fromCoroutine(domain.migrate(reactor, settings, audience, of_libvirt, workers))
    return Deferred.fromCoroutine(_migrate_there(reactor, settings, audience, of_qemu, moment=moment, workers=workers))


async def _migrate_there(
    reactor: Reactor,
    settings: MigrateSettings,
    audience: Audience,
    work: Work,
    given: Source | None = None,
    moment: Moment | None = None,
    workers: Workers | None = None,
) -> Progress:
    """Migrate; by way of ssh or a code, if the settings say so."""
    reached = far_of(reactor, settings, settings.migration.vm, audience.say)
    if reached is None:
        hands = Hired(workers, settings, None, audience.say)
        return await _migrate(reactor, settings, given, audience, work, hands, moment)
    made = False
    try:
        dialer = await reached.open()
        if work is Migration and needs_making(settings, reached):
            made = True
            try:
                await make_with(reactor, settings, reached, audience.say)
            except NbdtunError as error:  # an answer: nothing is left; what may be there is another attempt's
                made = isinstance(error, LinkLost | ReachError)
                raise
        hands = Hired(workers, settings, reached, audience.say)
        final = await _migrate(reactor, settings, Source(dialer), audience, work, hands, moment)
    except OutcomeUnknown:
        raise
    except BaseException as error:
        await shield(Deferred.fromCoroutine(_give_up(reached, error, made, work is Resolution)), lambda: None)
        raise
    else:
        await shield(Deferred.fromCoroutine(reached.acknowledge()), lambda: None)
        return final
    finally:
        await reached.close()


async def _give_up(reached: Far, error: BaseException, made: bool, resolving: bool) -> None:
    """
    Have what was ``made`` removed now, so that a second try finds nothing; the far end would do it at its end.

    An attempt that failed knows nothing of an earlier one, whose outcome the far end keeps until that is resolved.
    """
    if made:
        with suppress(NbdtunError):
            await reached.far.remove()
    await reached.acknowledge(settled=resolving and type(error) is MigrationError)  # it did not arrive, says the destination


async def _migrate(
    reactor: Reactor,
    settings: MigrateSettings,
    given: Source | None,
    audience: Audience,
    work: Work,
    hands: Hired,
    moment: Moment | None = None,
) -> Progress:
    rundir = RunDir(settings.tunnel.run_dir, settings.tunnel.socket_owner)
    monitor = Monitor(reactor, settings.qmp, settings.migration.vm, settings.migration.steps.command)
    rundir.sweep()
    controlled = MigrationControl(reactor, settings.migration.vm, settings.qmp, audience.report, audience.log, settings.connect)
    control = ControlSocket(reactor, settings.tunnel.run_dir, Name.of_vm(settings.migration.vm, settings.qmp), controlled)
    checklist, hold = Checklist(), Hold(reactor, settings.qmp)
    source = given or source_of(reactor, settings, checklist)
    try:
        connected = await begin(settings, checklist, rundir, monitor, source, control.open, hold.connect)
        if checklist.level is Level.FAILURE:
            examined = monitor if connected and work is Migration else None
            await the_rest(reactor, settings, checklist, rundir, examined, source)
            checklist.refuse()
        assert source is not None
        audience.meet(source)
        controlled.workers = hands.report
        if hands.wanted:
            hands.begin(source, await useful(monitor, settings.migration))
        if monitor.credentials is not None:
            give_to_qemu(rundir, monitor.credentials)
        controlled.work = made = work(reactor, monitor, TunnelCarrier(reactor, source, rundir), _patient(settings), controlled.heed)
        _told(made, checklist, moment)
        return await _run(made, settings.migration.vm)
    finally:
        ending = _end(source, hands, monitor, rundir, hold, control)
        await shield(Deferred.fromCoroutine(ending), lambda: None)  # a cancel that comes now is too late


async def _end(source: Source | None, hands: Hired, monitor: Monitor, rundir: RunDir, hold: Hold, control: ControlSocket) -> None:
    if source is not None:
        await source.drain(SETTLE)
        await source.stop()
    await hands.close()
    await monitor.close()
    rundir.remove()
    hold.release()
    await control.close()


async def _run(made: Migration | Resolution | Rescue, vm: str) -> Progress:
    """Run it; its log lines say what they are about."""
    with about(vm=vm, session=made.session[:8] if isinstance(made, Migration) else ""):
        return await made.run()


def _told(made: Migration | Resolution | Rescue, checklist: Checklist, moment: Moment | None) -> None:
    """Tell ``made`` what was found so far, and its moment where that is not of its settings."""
    made.checklist = checklist
    if moment is not None and isinstance(made, Migration):
        made.moment = moment


def _patient(settings: MigrateSettings) -> MigrationSettings:
    """Return the migration's settings; a lost answer is asked for no longer than the tunnel waits for a lost link."""
    steps = settings.migration.steps
    window = max(settings.tunnel.resume_window, 1.0)
    return evolve(settings.migration, steps=evolve(steps, settle=min(steps.settle, window)))


Then = Callable[[NbdtunError | CancelledError | None], object]


class MigrationService(Service):
    """
    Migrates as soon as it is started; when stopped before the end, it rolls back first.

    ``then`` is called when the migration has ended, with the error if it failed, was cancelled by another command, or by :meth:`drain`. It
    is not called when the service was stopped without that. ``watchers`` also hear of it. ``workers`` have the channels.

    :raise ConfigError: the certificates cannot be used.
    """

    log = make_logger()

    def __init__(
        self, reactor: Reactor, settings: MigrateSettings, then: Then = lambda error: None, *, workers: Workers | None = None
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self.settings = settings
        self.watchers: list[Audience] = []
        self._then = then
        self._source = make_source(reactor, settings) if settings.by_ssh is None and settings.code is None else None
        self._migration: Deferred[None] | None = None
        self._latest: Progress | None = None
        self._draining = False

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._migration = Deferred.fromCoroutine(self._run())

    def drain(self) -> Deferred[None]:
        """Roll back a migration under way; fires when that is done. Cancelling the Deferred only ends this wait."""
        self._draining = True
        if self._migration is None:
            return succeed(None)
        self._migration.cancel()
        return end_of(self._migration)

    def stopService(self) -> Deferred[None]:
        """Roll back a migration under way; fires when that is done."""
        super().stopService()

        async def stop() -> None:
            migration, self._migration = self._migration, None
            if migration is not None:
                migration.cancel()
                await migration

        return Deferred.fromCoroutine(stop())

    def doing(self) -> str:
        """The state of the migration, in one line."""
        vm = self.settings.migration.vm
        return f"{vm}: {PHASES[Phase.PREPARE] if self._latest is None else line(self._latest, vm)}"

    async def _run(self) -> None:
        failed = await self._attempt()
        if isinstance(failed, NbdtunError):
            phase = "" if self._latest is None else self._latest.phase.value
            self.log.error("{vm}: {reason}", vm=self.settings.migration.vm, reason=failed.line, code=failed.code, phase=phase)
        if self.running or self._draining:
            self._then(failed)

    async def _attempt(self) -> NbdtunError | CancelledError | None:
        vm = self.settings.migration.vm
        try:
            audience = Audience(self._report, say=self._say, meet=self._meet)
            final = await _migrate_there(self._reactor, self.settings, audience, Migration, self._source, workers=self._workers)
        except CancelledError as cancelled:
            self.log.info("{vm}: rolled back; it is at the source as before", vm=vm)
            return cancelled
        except NbdtunError as error:
            return error
        else:
            paused = "" if final.downtime_ms is None else f", after a downtime of {final.downtime_ms:.0f} ms"
            self.log.info("{vm}: runs at the destination{paused}", vm=vm, paused=paused)
        return None

    def _say(self, line: str) -> None:
        self.log.info("{line}", line=line)

    def _meet(self, source: Source) -> None:
        for watcher in self.watchers:
            watcher.meet(source)

    def _report(self, progress: Progress) -> None:
        self._latest = progress
        for watcher in self.watchers:
            watcher.report(progress)
