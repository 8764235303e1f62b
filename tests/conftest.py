"""What all tests have in common: whatever is logged as an error that nobody expected fails the test which caused it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import provider

from nbdtun.migration.rollback import presence
from nbdtun.ownership.names import claim, holder
from tests.failures import nothing_logged
from tests.places import left, part, rejoin
from tests.skips import summary

pytest.register_assert_rewrite(
    "tests.tunnel.stage.play",
    "tests.tunnel.stage.stage",
    "tests.tunnel.stage.pool",
    "tests.tunnel.stage.crank",
    "tests.tunnel.stage.cable",
    "tests.tunnel.stage.ends",
    "tests.fuzz.targets",
)

# The same examples each time, however busy the machine; ``pytest --hypothesis-profile=default`` looks for new ones.
settings.register_profile("nbdtun", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nbdtun")


# In the background of a script SIGINT is ignored, and below nohup SIGHUP; what the tests start and interrupt would inherit that.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


def pytest_configure() -> None:
    with contextlib.suppress(OSError):
        part()


def pytest_unconfigure() -> None:
    rejoin()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not os.environ.get("NBDTUN_SLOW"):
            item.add_marker(pytest.mark.skip(reason="slow; make chaos runs it, or NBDTUN_SLOW=1"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """At the end: what was skipped, and why."""
    lines = list(summary(terminalreporter.stats.get("skipped", [])))
    if lines:
        terminalreporter.section("skipped")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> None:
    """What is there before a module's first test need not be looked through after each."""
    from twisted.internet import reactor  # noqa: F401  # it takes descriptors of its own when it is first imported

    gc.collect()
    gc.freeze()


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The lines that the operator reads meanwhile."""
    lines: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith(("nbdtun", "txaio")) or event.get("log_level") is not None:
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    """The product's events meanwhile, with all that they have."""
    found: list[LogEvent] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith(("nbdtun", "tests")):
            found.append(event)

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest.fixture(autouse=True)
def _presences_of_this_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A presence's name is the whole machine's, and so is the one session of all tests, which two workers run at a time."""

    def own(name: str) -> str:
        return name if name == "nbdtun-test-presence" else f"{name} {os.getpid()}"

    monkeypatch.setattr(presence, "claim", lambda name: claim(own(name)))
    monkeypatch.setattr(presence, "holder", lambda name: holder(own(name)))


@pytest.fixture(autouse=True)
def _nothing_stays_in_nbdtuns_own_directories() -> Iterator[None]:
    """No sockets, and no records of sessions."""
    yield
    assert list(left()) == []


@pytest.fixture(autouse=True)
def _nothing_unexpected_is_logged(request: pytest.FixtureRequest) -> Iterator[None]:
    """A traceback in the log, or an error in a Deferred that nobody has looked at, is a failure, unless the test has made the bug."""
    made = request.node.get_closest_marker("bug")
    with pytest.raises(AssertionError, match="a bug in nbdtun") if made else contextlib.nullcontext(), nothing_logged():
        yield
        gc.collect()


def pytest_report_header() -> list[str]:
    """What repeats the random examples of this run."""
    seed = os.environ.get("NBDTUN_SEED")
    return [f"new examples: NBDTUN_SEED={seed} NBDTUN_NEW={os.environ.get('NBDTUN_NEW', 0)}"] if seed else []
