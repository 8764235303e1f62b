"""
What is said on the host itself: by another user's process, by a QEMU, by files that somebody has written, and by whoever types an option.

These are targets as those of ``targets``. None may fail in any other way than with one of our errors, whose line can be printed.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport

from nbdtun.config.endpoints import Role, check_exposure, host_of
from nbdtun.display.reports import sentence
from nbdtun.errors import CommandFailed, NbdtunError
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.qmp.schema import EVENTS, mismatch
from nbdtun.migration.rollback.journal import PATH, Entry, read
from nbdtun.service.control.client import Client
from nbdtun.service.control.commands import Cancel, Set, Status
from nbdtun.service.control.socket import ControlSocket
from nbdtun.tls.store import CA_CERT, CA_CRL, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY
from nbdtun.tls.trust import Trust
from tests.failures import nothing_logged
from tests.fuzz.cuts import pieces
from tests.fuzz.pki import certificates
from tests.migration.stage.paper import Sheet
from tests.migration.stage.stage import Stage as PaperStage
from tests.service.control.stage import Serving


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Whatever is not taken is refused in one line that can be printed."""
    lines: list[str] = []
    try:
        yield
    except NbdtunError as error:
        lines.append(error.line)
    assert all(line.isprintable() and len(line) < 20_000 for line in lines)


def control_socket(data: bytes) -> None:
    """Whatever another command says to a running process."""
    clock, subject = Clock(), Serving()
    with nothing_logged():
        control = ControlSocket(clock, "/run/nowhere", "web1", subject)  # type: ignore[arg-type]
        server = control._client()
        assert server is not None
        server.makeConnection(FakeTransport(server, isServer=True))
        for piece in pieces(data):
            if not server.lost:
                server.dataReceived(piece)
        if not server.lost:
            server.connectionLost()
        assert not control._clients
        assert not control._waiting


def control_client(data: bytes) -> None:
    """Whatever a process answers to a command, of this release or of another; or whoever stands in its place."""
    clock = Clock()
    outcomes: list[Any] = []
    with nothing_logged():
        client = Client(clock, "web1")
        client.makeConnection(FakeTransport(client, isServer=False))
        for command, arguments in ((Status, {}), (Set, {"bandwidth": 7}), (Cancel, {})):
            asking = Deferred.fromCoroutine(client.ask(command, seconds=5, **arguments))
            asking.addBoth(outcomes.append)
        for piece in pieces(data):
            if not client.lost:
                client.dataReceived(piece)
        clock.advance(5)
        if not client.lost:
            client.connectionLost()
        assert len(outcomes) == 3
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                assert isinstance(outcome.value, NbdtunError), outcome.getTraceback()
                assert outcome.value.line.isprintable()
            else:
                _shown(outcome["report"])


def _shown(report: dict[str, Any]) -> None:
    """As ``nbdtun status`` and ``cancel`` show it."""
    assert sentence(report).isprintable()
    json.dumps(report)
    with refused():
        Progress.from_json(report.get("progress", {}))


def report(data: bytes) -> None:
    """Whatever stands where a report, or a progress, should."""
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(data)
        with refused():
            Progress.from_json(value)
        _shown({"name": "web1", "progress": value})
        if isinstance(value, dict):
            _shown(value | {"name": str(value.get("name"))})


def journal(data: bytes) -> None:
    """Whatever stands in a QEMU where a journal should."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        entry = Entry.parse(text)
        assert Entry.parse(entry.text()) == entry
        assert entry.name.isprintable()
    sheet = Sheet(Clock(), {"qom-get": lambda path, property: text if path == PATH else None})
    outcomes: list[Any] = []
    Deferred.fromCoroutine(read(sheet)).addBoth(outcomes.append)
    if isinstance(outcomes[0], Failure):
        assert isinstance(outcomes[0].value, NbdtunError), outcomes[0].getTraceback()
        assert outcomes[0].value.line.isprintable()


def events(data: bytes) -> None:
    """Whatever a QEMU says while it is being migrated: JSON of events by their names, and the words with which it then refuses."""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return
    stage = PaperStage()
    with nothing_logged():
        moving = stage.start()
        stage.turn(60, Phase.MIRROR)
        for name, said in told.items() if isinstance(told, dict) else ():
            qemu = stage.source if len(name) % 2 else stage.destination
            if not isinstance(said, dict):
                qemu.fails[name.lower().replace("_", "-")] = CommandFailed(f"QEMU refused {name}: {said}")
            elif not mismatch(EVENTS.get(name), said):
                qemu.heard(name, said)
            stage.turn(0.1)
        outcome = stage.outcome(moving)
        assert isinstance(outcome, Progress | NbdtunError | CancelledError), outcome
        assert isinstance(outcome, Progress) or str(outcome).isprintable()
        assert len(stage.running()) <= 1


def endpoint(data: bytes) -> None:
    """Whatever is typed, or comes from a file, as an endpoint."""
    text = data.decode("utf-8", "surrogateescape")
    for role in Role:
        with refused():
            address = check_exposure(text, role, tls=False, insecure=False)
            assert address.local
            assert address.mode is None or address.mode >= 0
    with refused():
        host_of(text)


def pem(data: bytes) -> None:
    """Whatever stands in one of the files of a PKI, which a renewal may have written half."""
    if not data:
        return
    names = (CA_CERT, CA_CRL, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY)
    name = names[data[0] % len(names)]
    good = certificates() / name
    with tempfile.TemporaryDirectory(prefix="nbdtun-fuzz-") as directory:
        for each in names:
            if each != name and (certificates() / each).exists():
                (Path(directory) / each).symlink_to(certificates() / each)
        content = bytearray(good.read_bytes() if good.exists() and data[0] & 0x80 else b"")
        at = int.from_bytes(data[1:3], "big") % (len(content) + 1)
        content[at : at + len(data[3:])] = data[3:]
        (Path(directory) / name).touch(0o600)
        (Path(directory) / name).write_bytes(content)
        for server in (True, False):
            with refused():
                Trust(directory, server=server)
