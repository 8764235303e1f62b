"""``nbdtun evacuate``: moves all VMs of this host to others."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nbdtun.cli.options import DESTINATION, SpelledOut, checked, read
from nbdtun.cli.remote import base
from nbdtun.cli.streams import complain, tell
from nbdtun.config.evacuation.words import SHARED
from nbdtun.config.options import BANDWIDTH, LIBVIRT
from nbdtun.errors import ConfigError, printable
from nbdtun.ownership.given import check_directory

if TYPE_CHECKING:
    from nbdtun.evacuation.overview import Overview
    from nbdtun.evacuation.plan import Plan
    from nbdtun.evacuation.terms import Terms

_RULES: Final = "nbdtun.evacuation.rules"

_OPTIONS = (
    checked(LIBVIRT),
    click.option("--qmp", metavar="PATTERN", help="The QMP sockets of the VMs here, such as '/run/qemu/{vm}.qmp'."),
    click.option(
        "--to", type=DESTINATION, multiple=True, metavar="ENDPOINT", help="A destination: HOST, HOST:10810 or ssh://HOST. Repeatable."
    ),
    click.option("--only", multiple=True, metavar="PATTERN", help="Move the VMs with such a name, such as 'web*'. Repeatable."),
    click.option("--without", multiple=True, metavar="PATTERN", help="Leave the VMs with such a name here. Repeatable."),
    click.option("--dry-run", is_flag=True, help="Print the plan, or with --resume what the journal has; change nothing."),
    click.option("--json", "form", flag_value="json", help="Print the plan as one JSON object."),
    click.option("--toml", "form", flag_value="toml", help="Print the plan as a file that can be edited, for --plan."),
    click.option("--plan", "plan_file", metavar="FILE", help="Move what this plan says, which --dry-run --toml has printed."),
    click.option("--resume", is_flag=True, help="Go on with the evacuation in the journal."),
    click.option("--restore", metavar="FILE", help="Move only the VMs that the --report FILE of another host has sent away, in its order."),
    click.option("--journal", metavar="FILE", help="Where to keep the journal.  [default: one for this host]"),
    click.option("--report", "report_file", metavar="FILE", help="Write a report there at the end, as JSON."),
    checked(BANDWIDTH, text="Limit for all VMs together, such as 500MiB or 1Gbit/s."),
    click.option(
        "--copying", type=read("COUNT", "nbdtun.units:parse_count"), metavar="COUNT", help="VMs that copy at a time.  [default: 2]"
    ),
    click.option("--retries", type=click.IntRange(0, 1000), metavar="COUNT", help="How often a VM is tried again.  [default: 3]"),
    click.option(
        "--retry-pause",
        type=read("TIME", "nbdtun.units:parse_duration"),
        metavar="TIME",
        help="Pause before the first retry; each is twice as long.  [default: 10s]",
    ),
    click.option(
        "--keep-together",
        multiple=True,
        type=read("NAMES", f"{_RULES}:parse_names"),
        metavar="VM,VM",
        help="VMs that go to one destination. Repeatable.",
    ),
    click.option(
        "--keep-apart",
        multiple=True,
        type=read("NAMES", f"{_RULES}:parse_names"),
        metavar="VM,VM",
        help="VMs that go to different destinations. Repeatable.",
    ),
    click.option(
        "--pin", multiple=True, type=read("PIN", f"{_RULES}:parse_pin"), metavar="VM=ENDPOINT", help="The destination of a VM. Repeatable."
    ),
    click.option(
        "--order", type=read("NAMES", f"{_RULES}:parse_order"), metavar="VM,...", help="The VMs that go first.  [default: the smallest]"
    ),
    click.option(
        "--priority",
        multiple=True,
        type=read("PRIORITY", f"{_RULES}:parse_priority"),
        metavar="VM=NUMBER",
        help="The highest go first, 0 is usual. Repeatable.",
    ),
    click.option("--window", metavar="HH:MM-HH:MM", help="The hours in which guests may switch over.  [default: all]"),
    click.option(
        "--at-end",
        type=click.Choice(["pause", "roll-back"]),
        help="What the end of the window does with VMs that are not ready.  [default: pause]",
    ),
    click.option("--hook", metavar="DIR", help="Directory with executables: before, switchover, after, failed."),
    click.option(
        "--hook-time", type=read("TIME", "nbdtun.units:parse_duration"), metavar="TIME", help="How long a hook may take.  [default: 30s]"
    ),
    click.option(
        "--progress", type=click.Choice(["table", "json", "none"]), default="table", show_default=True, help="How to show progress."
    ),
    *(checked(option) for option in SHARED),
)


@click.command("evacuate", cls=SpelledOut, short_help="Move all VMs of this host to others.")
def command(
    dry_run: bool, form: str | None, resume: bool, journal: str | None, report_file: str | None, progress: str, **options: Any
) -> int:
    """Move all VMs of this host to other hosts, with their disks: those of libvirt, or those with QMP sockets of one form.

    Each has a process of its own, `nbdtun migrate`, and all of its options count for every VM. A few copy at a time, and one switches
    over at a time. A VM that fails is tried again, and stops no other. A journal has each step: after a crash, --resume goes on.

    After Ctrl-C no more VMs begin; a second one rolls back those under way.

    \b
    Exit status: 0  all were moved; with --dry-run, all could be
                 1  some stayed here
                 2  wrong usage
                 3  where some are is unknown: use --resume
                 4  some were lost at the destination
    """
    from nbdtun.cli.log import log_to_stderr
    from nbdtun.config.evacuation.terms import edited_plan, make_terms

    if resume and (options["plan_file"] or options["to"]):
        raise ConfigError("--resume goes on with what is in the journal, as it is there; leave --to and --plan out")
    if resume and dry_run:
        return _told(_journal(journal, options["run_dir"]), form or "text")
    if report_file:
        check_directory(Path(report_file).absolute().parent, "--report")
    edited = edited_plan(options["plan_file"]) if options["plan_file"] else None
    terms = None if resume else make_terms(options, edited)
    listed = None if edited is None else [vm for vm, _ in edited.moves]
    log_to_stderr(bars=True)
    if dry_run:
        assert terms is not None
        return _dry_run(terms, listed, form or "text")
    return _Attended(terms, listed, _journal(journal, options["run_dir"]), report_file, progress).run()


for _decorate in _OPTIONS:
    command = _decorate(command)


def _journal(given: str | None, run_dir: str | None) -> Path:
    from nbdtun.service.evacuation.run import default_journal

    return Path(given).absolute() if given else default_journal(run_dir)


def _told(path: Path, form: str) -> int:
    """Print what the journal has."""
    from time import time

    from nbdtun.display.evacuation import words
    from nbdtun.evacuation.journal import Journal
    from nbdtun.evacuation.overview import Overview

    entries, running = Journal(path).peek()
    overview = Overview(time(), tuple(entries), over=all(entry.state.over for entry in entries))
    if form == "json":
        click.echo(json.dumps({**overview.as_json(), "running": running}, allow_nan=False))
        return 0
    for entry in entries:
        click.echo(printable(f"{entry.vm}: {words(entry, None)}"))
    click.echo("it is under way" if running else "nothing is under way")
    return 0


def _dry_run(terms: Terms, listed: list[str] | None, form: str) -> int:
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from nbdtun.cli.reactor import run
    from nbdtun.process import settle_in
    from nbdtun.service.evacuation.planning import plan

    settle_in(reactor)
    planned = run(reactor, lambda: Deferred.fromCoroutine(plan(reactor, terms, listed, measure=True)))
    for line in _printed(planned, form):
        click.echo(line)
    return 0 if planned.fit else 1


def _printed(planned: Plan, form: str) -> Iterable[str]:
    from nbdtun.evacuation.plan import lines, toml

    if form == "json":
        return [json.dumps(planned.as_json(), allow_nan=False)]
    return toml(planned) if form == "toml" else lines(planned)


class _Attended:
    """An evacuation with its display and its signals."""

    def __init__(self, terms: Terms | None, listed: list[str] | None, journal: Path, report_file: str | None, progress: str) -> None:
        from twisted.internet import reactor

        from nbdtun.cli.detached import Terminal, open_log
        from nbdtun.display.evacuation import make_display
        from nbdtun.process import settle_in
        from nbdtun.service.evacuation.run import Evacuation

        settle_in(reactor)
        self._reactor = reactor
        self._terminal = Terminal(lambda: open_log("evacuate", base(None)))
        self._display = make_display(progress)
        self._report_file = report_file
        self._interrupted = False
        self._work = Evacuation(reactor, terms, journal, self._show, tell, listed)

    def run(self) -> int:
        """Run it; returns the exit status."""
        from twisted.internet.defer import Deferred

        from nbdtun.cli.reactor import run

        handled: dict[int, Callable[[], None]] = dict.fromkeys((signal.SIGINT, signal.SIGTERM), self._interrupt)
        handled[signal.SIGHUP] = self._hang_up
        try:
            final = run(self._reactor, lambda: Deferred.fromCoroutine(self._work.run()), handled)
        finally:
            self._display.close()
        self._conclude(final)
        return final.status

    def _interrupt(self) -> None:
        if self._interrupted:
            complain("rolling back what is under way; what has been handed over goes on")
            self._work.roll_back()
        else:
            complain("no more VMs begin, and those under way go on; another signal rolls them back")
            self._interrupted = True
            self._work.stop()

    def _hang_up(self) -> None:
        complain("the terminal was closed; the evacuation goes on: `nbdtun status` shows it")

    def _show(self, overview: Overview) -> None:
        from nbdtun.display.evacuation import Lines, Nothing

        if self._terminal.leave(self._display.close):
            self._display = Lines(sys.stdout)
        try:
            self._display.show(overview)
        except OSError:  # a full disk, or a reader that has gone away
            self._display = Nothing()

    def _conclude(self, final: Overview) -> None:
        """Tell which VMs are not where they should be, and write the report."""
        from nbdtun.display.evacuation import words
        from nbdtun.evacuation.life import State
        from nbdtun.ownership.files import replace_file

        for entry in final.entries:
            if entry.state is not State.MOVED:
                complain(f"{entry.vm}: {words(entry, None)}")
        if self._report_file:
            try:
                replace_file(Path(self._report_file).absolute(), f"{json.dumps(final.as_json(), indent=2)}\n".encode(), 0o600)
            except OSError as error:
                again = "`nbdtun evacuate --resume --report FILE` writes it elsewhere"
                complain(f"the report {self._report_file} cannot be written: {error.strerror}; {again}")
