"""The list that a check fills: each finding is told to whoever shows them as soon as it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nbdtun.errors import DestinationFailed, NbdtunError, error_of
from nbdtun.logs import make_logger
from nbdtun.migration.finding import Finding, Level


class Checklist:
    """``findings``, in the order in which they were made; ``report`` is called with each."""

    log = make_logger()

    def __init__(self, report: Callable[[Finding], None] = lambda finding: None) -> None:
        self.findings: list[Finding] = []
        self._report = report

    def __repr__(self) -> str:
        return f"<Checklist of {len(self.findings)}, {self.level.value}>"

    @property
    def level(self) -> Level:
        """That of the gravest."""
        levels = {finding.level for finding in self.findings}
        return next((level for level in (Level.FAILURE, Level.WARNING) if level in levels), Level.OK)

    def add(self, finding: Finding) -> None:
        """Note it."""
        self.findings.append(finding)
        self._report(finding)

    def ok(self, check: str, what: str) -> None:
        """Note that something is as it should be."""
        self.add(Finding(Level.OK, check, what))

    def warn(self, check: str, what: str, remedy: str = "") -> None:
        """Note what an operator should know, and what does not keep a migration from being begun."""
        self.add(Finding(Level.WARNING, check, what, remedy))

    def refuse(self) -> None:
        """
        Go no further if something has failed.

        :raise NbdtunError: of the first failure's kind, with the texts of all.
        """
        failed = [finding for finding in self.findings if finding.level is Level.FAILURE]
        if failed:
            raise error_of(failed[0].code, "; ".join(map(str, failed)), NbdtunError, DestinationFailed)

    def raise_failures(self, vm: str) -> None:
        """
        Begin, if it may be begun: log the warnings.

        :raise NbdtunError: it may not.
        """
        self.refuse()
        for finding in self.findings:
            if finding.level is Level.WARNING:
                self.log.warn("{vm}: {finding}", vm=vm, finding=str(finding))

    @contextmanager
    def collecting(self, check: str, level: Level = Level.FAILURE) -> Iterator[None]:
        """Note the error with which the block ends, if it does, and go on behind it."""
        try:
            yield
        except NbdtunError as error:
            self.add(Finding.of(check, error, level))
