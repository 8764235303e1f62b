"""
The source's side of a check: it queries both QEMUs, measures the tunnel between them, and watches the guest.

It changes nothing in either QEMU. The most important results come first: whether it can work at all, then how long it will take.
"""

from __future__ import annotations

from time import time

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from nbdtun.migration.carrier import Carrier, Speed
from nbdtun.migration.catalogue import ACTIVITY, BUFFERS, CLOCK, FORECAST, SOURCE, THROUGHPUT, TUNNEL
from nbdtun.migration.check.activity import RESOLUTION, activity
from nbdtun.migration.check.checklist import Checklist, Once
from nbdtun.migration.check.consult import consult
from nbdtun.migration.check.departure import Departure, depart
from nbdtun.migration.check.forecast import Forecast, Load, Path, forecast
from nbdtun.migration.check.report import Measured, Report
from nbdtun.migration.control.channel import Control
from nbdtun.migration.finding import Check as Names
from nbdtun.migration.finding import Level
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.settings import MigrationSettings
from nbdtun.units import duration_text, milliseconds_text, rate_text

#: The most that two clocks may differ without a warning: new certificates, and two logs side by side, need no better.
SKEW_SECONDS = 5.0


class Preflight:
    """
    One check of the VM that the settings name. Findings go to ``checklist``.

    ``monitor`` is already connected, and the caller closes it; None if it could not be connected. ``carrier`` is None without a tunnel.
    ``peer_name`` is the name in the destination's certificate that TLS verifies; None without TLS. ``departing`` reads the VM here, where
    several checks share what it has read.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        monitor: Monitor | None,
        carrier: Carrier | None,
        settings: MigrationSettings,
        checklist: Checklist,
        peer_name: str | None = None,
        departing: Once[Departure] | None = None,
    ) -> None:
        self._reactor = reactor
        self._monitor = monitor
        self._carrier = carrier
        self._settings = settings
        self._list = checklist
        self._peer_name = peer_name
        self._departing = departing or (None if monitor is None else leaving(monitor, settings))
        self._departure: Departure | None = None
        self._measured = Measured()

    def __repr__(self) -> str:
        return f"<Preflight of {self._settings.vm}, {self._list!r}>"

    async def run(self, measure: bool = True) -> Report:
        """Check everything, and ``measure`` if there is no failure so far."""
        expected = None
        if self._departing is not None:
            with self._list.collecting(SOURCE):
                self._departure = await self._departing.into(self._list)
        if self._carrier is not None:
            await self._visit(self._carrier)
            if measure and self._list.level is not Level.FAILURE:
                await self._try_tunnel(self._carrier)
                await self._watch_guest()
                expected = self._foresee()
        return Report(self._settings.vm, self._list.level, tuple(self._list.findings), self._measured, expected, self._list.spaces)

    async def _visit(self, carrier: Carrier) -> None:
        """Query the destination."""
        with self._list.collecting(TUNNEL):
            control = await Control(self._reactor).open(carrier, self._settings.steps.answer)
            try:
                await self._ping(control)
                there = await consult(self._list, control, self._departure, self._settings)
                if there is not None:
                    self._compare_clocks(there + (self._measured.round_trip or 0.0) / 2 - time())
            finally:
                control.hang_up()

    async def _ping(self, control: Control) -> None:
        middle = await control.round_trip(self._settings.steps.answer)
        self._measured = evolve(self._measured, round_trip=middle)
        self._list.ok(Names.TUNNEL, answered(self._peer_name, middle))

    def _compare_clocks(self, ahead: float) -> None:
        self._measured = evolve(self._measured, clock=ahead)
        if abs(ahead) <= SKEW_SECONDS:
            self._list.ok(Names.CLOCK, f"clocks agree within {milliseconds_text(abs(ahead))}")
            return
        far = f"the destination's clock is {duration_text(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this host's"
        self._list.add(CLOCK(far))

    async def _try_tunnel(self, carrier: Carrier) -> None:
        with self._list.collecting(THROUGHPUT):
            speed = await carrier.throughput()
            self._measured = evolve(self._measured, throughput=speed.rate)
            list_speed(self._list, speed, self._measured.round_trip)

    async def _watch_guest(self) -> None:
        if self._monitor is None or self._departure is None or not self._departure.runs:
            return
        with self._list.collecting(ACTIVITY):
            busy = await activity(self._monitor, self._reactor, self._departure.disks)
            self._measured = evolve(self._measured, activity=busy)
            changes = rate_text(busy.memory) if busy.memory else f"less than {rate_text(RESOLUTION)}"
            self._list.ok(Names.ACTIVITY, f"the guest dirties {changes} of memory and writes {rate_text(busy.writes)} to its disks")

    def _foresee(self) -> Forecast | None:
        measured, departure, settings = self._measured, self._departure, self._settings
        if departure is None or measured.throughput is None or (departure.runs and measured.activity is None):
            return None
        writes, dirty = (0.0, 0.0) if measured.activity is None else (measured.activity.writes, measured.activity.memory)
        load = Load(sum(disk.allocated for disk in departure.disks), departure.machine.memory, writes, dirty)
        path = Path(measured.throughput, measured.round_trip or 0.0, settings.bandwidth, settings.downtime)
        expected = forecast(load, path)
        self._list_forecast(expected, load, path, departure.runs)
        return expected

    def _list_forecast(self, expected: Forecast, load: Load, path: Path, runs: bool) -> None:
        if expected.disks is None:
            copied = rate_text(path.for_disks())
            what = f"will not converge: the guest writes {rate_text(load.writes)} to its disks, but only {copied} can be copied"
            remedy = "use --converge write-blocking, more --bandwidth or a faster network, or migrate when the guest is less busy"
            self._list.add(FORECAST(what, remedy))
        elif expected.memory is None or expected.downtime is None or expected.total is None:
            left = path.for_memory(load.writes)
            what = f"will not converge: the guest dirties {rate_text(load.dirty)} of memory, but only {rate_text(left)} can be sent"
            remedy = "use --converge auto-converge,downtime or more --bandwidth, or migrate when the guest is less busy"
            self._list.add(FORECAST(what, remedy))
        else:
            pause = f", with a downtime of about {milliseconds_text(expected.downtime)}" if runs else ""
            parts = f"{duration_text(expected.disks)} for the disks, {duration_text(expected.memory + expected.downtime)} for the memory"
            self._list.ok(Names.FORECAST, f"it takes about {duration_text(expected.total)} ({parts}){pause}")


def leaving(monitor: Monitor, settings: MigrationSettings) -> Once[Departure]:
    """Reads the VM here when it is first asked for, and never again."""
    return Once(lambda checklist: depart(checklist, monitor, settings))


def answered(peer_name: str | None, round_trip: float) -> str:
    """The line about a destination that answers, verified by that name or not at all, after a round trip in seconds."""
    reached = f"the destination is verified as {peer_name}" if peer_name else "the destination answers"
    return f"{reached}, round trip {milliseconds_text(round_trip)}"


def list_speed(checklist: Checklist, speed: Speed, round_trip: float | None) -> None:
    """Note what one channel carries over a round trip in seconds, and what holds it back."""
    carries = f"one tunnel channel carries {rate_text(speed.rate)}"
    if speed.held:
        far = f"over a round trip of {milliseconds_text(round_trip or 0.0)}"
        checklist.add(BUFFERS(f"{carries} {far}: TCP's buffers at the {speed.held} hold no more"))
    else:
        checklist.ok(Names.THROUGHPUT, carries)
