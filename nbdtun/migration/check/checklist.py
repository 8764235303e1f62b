"""The list that a check fills: each finding is reported as soon as it is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar, cast

from nbdtun.errors import DestinationFailed, NbdtunError, error_of
from nbdtun.logs import make_logger
from nbdtun.migration.capacity import Space
from nbdtun.migration.catalogue import Kind
from nbdtun.migration.finding import Check, Finding, Level

T = TypeVar("T")


class Checklist:
    """``findings``, in the order in which they were made; ``report`` is called with each. ``spaces`` is what the disks need there."""

    log = make_logger()

    def __init__(self, report: Callable[[Finding], None] = lambda finding: None) -> None:
        self.findings: list[Finding] = []
        self.spaces: tuple[Space, ...] = ()
        self._report = report

    def __repr__(self) -> str:
        return f"<Checklist of {len(self.findings)}, {self.level.value}>"

    @property
    def level(self) -> Level:
        """The level of the most serious finding."""
        levels = {finding.level for finding in self.findings}
        return next((level for level in (Level.FAILURE, Level.WARNING) if level in levels), Level.OK)

    def add(self, finding: Finding) -> None:
        """Add ``finding``, and report it."""
        self.findings.append(finding)
        self._report(finding)

    def ok(self, check: Check, what: str) -> None:
        """Add a good result."""
        self.add(Finding(Level.OK, check, what))

    def refuse(self) -> None:
        """
        End the migration if a finding is a failure.

        :raise NbdtunError: of the first failure's kind, with the texts of all failures.
        """
        failed = [finding for finding in self.findings if finding.level is Level.FAILURE]
        if failed:
            raise error_of(failed[0].code, "; ".join(map(str, failed)), NbdtunError, DestinationFailed)

    def raise_failures(self, vm: str) -> None:
        """
        Raise the failures; if there are none, log the warnings.

        :raise NbdtunError: as of :meth:`refuse`.
        """
        self.refuse()
        for finding in self.findings:
            if finding.level is Level.WARNING:
                self.log.warn("{vm}: {finding}", vm=vm, finding=str(finding))

    @contextmanager
    def collecting(self, kind: Kind) -> Iterator[None]:
        """Add the error that ends the block, if one does, as a finding of this kind; and go on after it."""
        try:
            yield
        except NbdtunError as error:
            self.add(kind.of(error))


class Once(Generic[T]):
    """
    Checks that are made once, for the first checklist that asks: ``make`` fills it. Later ones are told the same; nothing is read again.

    One asks at a time.
    """

    def __init__(self, make: Callable[[Checklist], Awaitable[T]]) -> None:
        self._make = make
        self._findings: list[Finding] | None = None
        self._result: T | NbdtunError | None = None

    def __repr__(self) -> str:
        return f"<Once {'not yet' if self._findings is None else self._result!r}>"

    async def into(self, checklist: Checklist) -> T:
        """
        Add its findings to ``checklist``; returns the result.

        :raise NbdtunError: as ``make`` did.
        """
        if self._findings is None:
            own = Checklist(checklist.add)
            self._findings = own.findings
            try:
                self._result = await self._make(own)
            except NbdtunError as error:
                self._result = error
        else:
            for finding in self._findings:
                checklist.add(finding)
        if isinstance(self._result, NbdtunError):
            raise self._result
        return cast("T", self._result)
