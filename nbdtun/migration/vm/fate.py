"""
The fate of a guest in its first moments at the destination.

A migration can be complete by all that QEMU reports, and the guest dies of it a moment later: it misses a feature, a device or its disk.

QEMU facts (7.2 and 10.0; ``qapi/run-state.json``). A panic that the guest reports (pvpanic, Hyper-V's MSRs) is GUEST_PANICKED, or
GUEST_CRASHLOADED if its crash kernel takes over; what follows depends on ``-action panic=``: by default QEMU shuts down. SHUTDOWN has a
reason, and QEMU ends after it, except with ``-no-shutdown``: then the run state is ``shutdown``. A guest that resets itself causes RESET,
or SHUTDOWN with ``-no-reboot``. KVM's failures are ``internal-error``. A disk with ``werror=stop`` is ``io-error``: the guest stands still
until ``cont``, which repeats the request. Each of these states comes with STOP.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from nbdtun.errors import MonitorError, MonitorLost
from nbdtun.migration.qmp.dial import is_served
from nbdtun.migration.qmp.events import Event, Listener
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.machine import run_state

CRASHED = "the guest has crashed"
OFF = "the guest has shut down"
ENDED = "its QEMU has ended"
#: Run states in which a guest does not go on by itself, and that no operator has caused by ``stop``.
FALLEN = {
    "internal-error": "QEMU reports an internal error",
    "guest-panicked": CRASHED,
    "shutdown": OFF,
    "io-error": "a disk has failed or is full, and QEMU has paused the guest",
    "watchdog": "its watchdog has found it hanging, and has paused it",
}
_PANICS = ("GUEST_PANICKED", "GUEST_CRASHLOADED")
_SHUTDOWNS = {
    "guest-shutdown": OFF + " by itself",
    "guest-reset": "the guest has reset itself, and its QEMU has ended (-no-reboot)",
    "guest-panic": CRASHED,
    "host-qmp-quit": "another client has ended its QEMU (quit)",
    "host-qmp-system-reset": "another client has reset it, and its QEMU has ended (-no-reboot)",
    "host-signal": "its QEMU was ended by a signal",
}


async def fallen(monitor: Monitor) -> str:
    """Why the guest behind ``monitor`` does not go on by itself, by its present run state; empty: it does, or an operator has paused it."""
    return FALLEN.get(await run_state(monitor), "")


class Fate:
    """Follows the guest behind ``monitor``. ``lost`` is the reason why it does not live on; empty for none."""

    def __init__(self, clock: IReactorTime, monitor: Monitor) -> None:
        self.lost = ""
        self._clock = clock
        self._monitor = monitor
        self._events: Listener | None = None
        self._wait: Deferred[Event] | None = None
        self._hurried = False

    def __repr__(self) -> str:
        return f"<Fate of {self._monitor.name}: {self.lost or 'it lives'}>"

    def begin(self) -> None:
        """Hear QEMU's events from now on: to be called before it runs."""
        self._events = self._monitor.listen(*_PANICS, "SHUTDOWN", "STOP")

    async def watch(self, seconds: float) -> None:
        """
        Watch it for ``seconds``; returns sooner if it is lost, or at :meth:`hurry`.

        :raise MonitorError: QEMU does not answer; whether the guest lives is unknown.
        """
        assert self._events is not None
        end = self._clock.seconds() + seconds
        with self._events as events:
            while not self.lost and not self._hurried and (left := end - self._clock.seconds()) > 0:
                self._wait = Deferred.fromCoroutine(events.next(left))
                try:
                    self.lost = await self._meaning(await self._wait)
                except (MonitorError, CancelledError):
                    break  # the time is over, or the monitor is lost
            self._wait = None
        self.lost = self.lost or await self._present()

    def hurry(self) -> None:
        """Watch no longer."""
        self._hurried = True
        if self._wait is not None:
            self._wait.cancel()

    async def _meaning(self, event: Event) -> str:
        if event.name in _PANICS:
            return CRASHED
        if event.name == "SHUTDOWN":
            return _SHUTDOWNS.get(str(event.data.get("reason", "")), OFF)
        return await fallen(self._monitor)

    async def _present(self) -> str:
        try:
            return await fallen(self._monitor)
        except MonitorLost:
            if await self._monitor.renew():  # only its monitor was closed
                return await fallen(self._monitor)
            if is_served(self._monitor.path):  # by it, or in its place
                raise
            return ENDED
