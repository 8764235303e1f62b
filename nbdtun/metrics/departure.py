"""The metrics of one migration at its source, from its own reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import Metric

from nbdtun.metrics import arrivals, tunnel
from nbdtun.metrics.families import gauge
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.tally import Tally
from nbdtun.service.control.audience import Audience
from nbdtun.tunnel.source.client import Source


class Departure:
    """The migration of ``vm``, of which its ``audience`` hears."""

    def __init__(self, vm: str) -> None:
        self.audience = Audience(report=self._heed, meet=self._meet)
        self.tally = Tally()
        self._vm = vm
        self._source: Source | None = None
        self._latest: Progress | None = None

    def __repr__(self) -> str:
        return f"<Departure of {self._vm}, {self._latest and self._latest.phase.value}>"

    def _meet(self, source: Source) -> None:
        self._source = source

    def _heed(self, progress: Progress) -> None:
        before, self._latest = self._latest, progress
        if progress.phase.final and (before is None or not before.phase.final):
            self._end(progress, Phase.PREPARE if before is None else before.phase)

    def _end(self, final: Progress, phase: Phase) -> None:
        self.tally.end(final.phase.value, phase.value, final.elapsed)
        if final.downtime_ms is not None:
            self.tally.downtimes.note(final.downtime_ms / 1000)

    @property
    def unready(self) -> str:
        """Why it does not go on just now; empty while it does."""
        return "" if self._latest is None or self._latest.link.up else f"the link is {self._latest.link.state}"

    def progress(self) -> Iterator[Metric]:
        """How far it is, and how it has ended."""
        yield gauge("migration_info", "The VM that is migrated.", {(self._vm,): 1}, "vm")
        yield from arrivals.ended(self.tally)
        latest = self._latest
        phase = Counter([] if latest is None or latest.phase.final else [latest.phase.value])
        yield arrivals.phases(phase)
        if latest is not None:
            yield from _progress(latest)

    def tunnel(self) -> Iterator[Metric]:
        """Those of its end of the tunnel."""
        if self._source is not None:
            yield from tunnel.of(self._source)


def _progress(progress: Progress) -> Iterator[Metric]:
    disks, ram = progress.disks, progress.ram
    copied = {("disks",): sum(disk.done for disk in disks), ("memory",): ram.done}
    total = {("disks",): sum(disk.total for disk in disks), ("memory",): ram.total}
    yield gauge("migration_copied_bytes", "Bytes of the disks and of the memory that are copied.", copied, "part")
    yield gauge("migration_size_bytes", "Bytes that are to be copied; they grow while the guest writes.", total, "part")
    yield gauge("migration_elapsed_seconds", "Seconds since its beginning.", progress.elapsed)
    if progress.rate is not None:
        yield gauge("migration_bytes_per_second", "How fast it copies; absent where that cannot be told.", progress.rate)
    if progress.eta is not None:
        yield gauge("migration_left_seconds", "Seconds until all is copied; absent where that cannot be told.", progress.eta)
