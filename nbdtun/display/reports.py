"""The reports of migrations and daemons, for people: what `nbdtun status` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from nbdtun import __version__
from nbdtun.display.lines import line
from nbdtun.display.words import PHASES
from nbdtun.errors import NbdtunError, printable
from nbdtun.migration.progress import Phase, Progress
from nbdtun.tls.certificate import date
from nbdtun.units import duration_text, rate_text, size_text

#: The words for a QEMU that may receive a VM, by its run state. Other states stand for themselves.
QEMU: Final = {"inmigrate": "QEMU waits for it", "receiving": "it arrives at another process of this daemon", None: "QEMU does not answer"}

Report = Mapping[str, Any]

#: The errors of a report that another release has made.
_ODD: Final = (NbdtunError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError)


def lines_of(report: Report, *, by_monitor: bool = False) -> list[str]:
    """
    A report: its sentence, then a line for each thing that a daemon serves or receives, indented.

    ``by_monitor`` also names a VM's monitor, where its name is not enough.
    """
    try:
        return [sentence(report, by_monitor=by_monitor), *(f"  {printable(detail)}" for detail in details(report))]
    except _ODD as odd:
        return [_unreadable(report, odd)]


def sentence(report: Report, *, by_monitor: bool = False) -> str:
    """A report in one line; also one of another release of nbdtun."""
    try:
        return printable(_sentence(report, by_monitor))
    except _ODD as odd:
        return _unreadable(report, odd)


def _unreadable(report: Report, odd: Exception) -> str:
    release = report.get("release", __version__)
    theirs = "" if release == __version__ else f"; it is nbdtun {release}, and this command {__version__}"
    return printable(f"{report.get('name')} (pid {report.get('pid')}): it reports what cannot be read: {odd!r}{theirs}")


def _sentence(report: Report, by_monitor: bool) -> str:
    if "error" in report:
        return str(report["error"])
    parts = [_state(report)] if "state" in report else []
    if "uptime" in report:
        parts.append(f"up {duration_text(report['uptime'])}")
    if "progress" in report:
        parts.append(line(Progress.from_json(report["progress"]), report["name"]))
    if "states" in report:
        parts.append(", ".join(f"{count} {state}" for state, count in report["states"].items()) or "no VM")
    if "bandwidth" in report:
        limit = f"at most {rate_text(report['bandwidth'])}" if report["bandwidth"] else "no bandwidth limit"
        parts.append(f"{limit}, downtime {duration_text(report['downtime'])}" if "downtime" in report else limit)
    if "channels" in report:
        parts.append(_links(report))
    if report.get("certificate_expires") and not report.get("certificates"):  # an older release's
        parts.append(f"certificate valid until {date(report['certificate_expires'])}")
    if "log" in report:
        parts.append(f"its terminal was closed, messages go to {report['log']}")
    at = report.get("qmp") or report.get("libvirt")
    place = f"{at}, " if by_monitor and at else ""
    return f"{report['name']} ({place}pid {report['pid']}): {'; '.join(parts)}"


def _state(report: Report) -> str:
    place = f"listens on {report['listen']}" if "listen" in report else f"forwards to {report['connect']}"
    if report["state"] == "serving":
        return place
    if report["state"] == "replaced":
        return f"was replaced by process {report['replaced_by']}, and keeps what it has until that ends"
    return f"{place}, shutting down, waits for {', '.join(report['waits_for']) or 'nothing any more'}"


def _links(report: Report) -> str:
    channels, links = report["channels"], report["links"]
    if not channels:
        return "no channels"
    noun = "channel" if channels == 1 else "channels"
    lost_for = report.get("link_lost_for")
    since = "" if lost_for is None else f" for {duration_text(lost_for)}"
    return f"{channels} {noun}" if links == channels else f"{channels} {noun}, {channels - links} without a link{since}"


def details(report: Report) -> Iterator[str]:
    """Certificates, sessions that arrive, VMs that may, targets, forwards, the sources that have channels, and workers."""
    if report.get("certificates"):
        known = {name: end for name, end in report["certificates"].items() if isinstance(end, int | float)}  # a later release may tell more
        yield f"valid: {', '.join(f'{name} until {date(end)}' for name, end in known.items())}"
    for session in report.get("sessions", []):
        yield _session(session)
    if "states" in report:
        yield from map(_evacuated, report["vms"])
        return
    arriving = {session["vm"] for session in report.get("sessions", [])}
    for vm in report.get("vms", []):
        if vm["name"] not in arriving:
            yield f"{vm['name']}: {QEMU.get(vm['qemu'], 'QEMU is ' + str(vm['qemu']))} ({vm['qmp']})"
    if report.get("libvirt") and "sessions" in report:  # at a destination; a migration has its own there
        yield f"VMs of libvirt's at {report['libvirt']}"
    for target in report.get("targets", []):
        yield f"target {target['name']}: {_count(target['channels'])}"
    for forward in report.get("forwards", []):
        yield f"{forward['listen']} to target {forward['target']}: {_count(forward['channels'])}"
    for source in report.get("sources", []):
        yield f"source {source['source']}: {_count(source['channels'])}"
    yield from map(_worker, report.get("workers", []))
    if report.get("left_out"):
        yield f"left out, because they are too many: {', '.join(report['left_out'])}"


def _worker(worker: Report) -> str:
    if worker["ended"] is None:
        return f"worker {worker['pid']}: {_count(len(worker['channels']))}"
    with_it = f", and with it {', '.join(worker['channels'])}" if worker["channels"] else ""
    return f"worker {worker['pid']} has ended ({worker['ended']}){with_it}"


def _evacuated(vm: Report) -> str:
    """A VM of an evacuation: what is done with it, and how much of it is copied."""
    parts = [PHASES[Phase(vm["phase"])] if vm["state"] == "copying" and "phase" in vm else vm["state"]]
    parts += [f"to {vm['to']}"] if vm["to"] else []
    if vm.get("total"):
        parts.append(f"{vm['done'] * 100 // vm['total']} % of {size_text(vm['total'])}")
    return f"{vm['vm']}: {', '.join(parts)}" + (f": {vm['reason']} [{vm['code']}]" if vm["code"] else "")


def _session(session: Report) -> str:
    source = printable(session["source"] or "a source without a link")
    who = f"{source} ({printable(session['certificate'])})" if session["certificate"] else source
    disks, memory = session["disks"], session["memory"]["received"]
    parts = []
    if disks["total"]:
        percent = min(100, disks["received"] * 100 // disks["total"])
        parts.append(f"{size_text(disks['received'])} received for disks of {size_text(disks['total'])} ({percent} %)")
    if memory:
        parts.append(f"{size_text(memory)} of memory")
    return f"{session['vm']} arrives from {who}: {'; '.join([session['phase'], *parts])}"


def _count(channels: int) -> str:
    return "no channels" if not channels else f"{channels} channel{'s' * (channels != 1)}"
