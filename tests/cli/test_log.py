"""What is told on standard error beside the progress, and what is left to the display."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from twisted.logger import ILogObserver, Logger, LogPublisher

from nbdtun.cli.log import log_to_stderr

MIGRATION, CHANNEL = "nbdtun.migration.source.migration", "nbdtun.tunnel.channels.channel"
Tell = Callable[..., None]


class Beginner:
    """Twisted's, which can begin but once in a process."""

    def __init__(self) -> None:
        self.publisher = LogPublisher()

    def beginLoggingTo(self, observers: Sequence[ILogObserver], *, redirectStandardIO: bool) -> None:
        assert not redirectStandardIO  # a display may be writing there
        for observer in observers:
            self.publisher.addObserver(observer)


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Tell]:
    """Begin, with or without bars; what tells then that something has happened."""

    def begin(bars: bool) -> Tell:
        beginner = Beginner()
        monkeypatch.setattr("twisted.logger.globalLogBeginner", beginner)
        log_to_stderr(bars=bars)

        def happened(namespace: str, level: str, text: str) -> None:
            getattr(Logger(namespace, observer=beginner.publisher), level)(text)

        return happened

    return begin


def test_what_the_migration_has_to_say(tell: Callable[[bool], Tell], capsys: pytest.CaptureFixture[str]) -> None:
    happened = tell(True)
    happened(MIGRATION, "info", "web1: bandwidth is now 1 MiB/s")
    happened("nbdtun.service.control.migration", "warn", "web1: cancelled by another command, rolling back")
    happened(MIGRATION, "debug", "query-status")
    assert capsys.readouterr() == (
        "",
        "nbdtun: web1: bandwidth is now 1 MiB/s\nnbdtun: web1: cancelled by another command, rolling back\n",
    )


@pytest.mark.parametrize("bars", [True, False])
def test_bars_show_a_lost_link_themselves(bars: bool, tell: Callable[[bool], Tell], capsys: pytest.CaptureFixture[str]) -> None:
    tell(bars)(CHANNEL, "warn", "link lost")
    assert capsys.readouterr().err == ("" if bars else "nbdtun: link lost\n")


@pytest.mark.parametrize("namespace", ["nbdtun.tunnel.source.dialer", "twisted.internet.tcp", "elsewhere"])
def test_others_are_heard_when_something_is_broken_only(
    namespace: str, tell: Callable[[bool], Tell], capsys: pytest.CaptureFixture[str]
) -> None:
    happened = tell(False)
    happened(namespace, "error", "not told")
    happened(namespace, "critical", "a bug")
    assert capsys.readouterr().err == "nbdtun: a bug\n"
