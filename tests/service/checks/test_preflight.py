"""A check with its tunnel: what is found where nothing is there; what a whole one finds needs two real QEMUs."""

from __future__ import annotations

from pathlib import Path

import pytest_twisted
from twisted.internet import reactor

from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.finding import Finding, Level
from nbdtun.service.checking import check
from nbdtun.service.checks.preflight import check_own_sockets, check_tls
from nbdtun.service.control.names import Name
from nbdtun.service.control.socket import ControlSocket
from nbdtun.service.local.rundir import RunDir
from nbdtun.tls import issue
from tests.service.control.stage import Controllable
from tests.service.stage import migration_settings


def lines(checklist: Checklist) -> list[str]:
    return [f"{one.level.value} {one.check}: {one}" for one in checklist.findings]


@pytest_twisted.ensureDeferred
async def test_all_that_is_missing_is_told_at_once(base: Path) -> None:
    told: list[Finding] = []
    report = await check(reactor, migration_settings(base, handshake_timeout=0.5), told.append)
    assert report.findings == tuple(told)
    assert (report.level, [(one.level, one.check) for one in told]) == (
        Level.FAILURE,
        [(Level.OK, "tls"), (Level.FAILURE, "source"), (Level.FAILURE, "tunnel")],
    )
    assert report.forecast is None
    assert list(base.iterdir()) == []  # nothing was made


@pytest_twisted.ensureDeferred
async def test_without_certificates_the_tunnel_is_not_tried(base: Path) -> None:
    report = await check(reactor, migration_settings(base, tls_dir=f"{base}/none", tls_name="dest"))
    assert [one.check for one in report.findings] == ["tls", "source"]
    assert "none: No such file or directory" in str(report.findings[0])


def test_until_when_certificates_are_good(base: Path) -> None:
    issue.make(base, ["dest"])
    checklist = Checklist()
    check_tls(checklist, migration_settings(base, tls_dir=str(base), tls_name="dest"))
    assert [line.split(": ")[:2] for line in lines(checklist)] == [["ok tls", f"{base}/client-cert.pem"], ["ok tls", f"{base}/ca-cert.pem"]]


def test_no_certificates_were_asked_for(base: Path) -> None:
    checklist = Checklist()
    check_tls(checklist, migration_settings(base))
    assert lines(checklist) == ["ok tls: TLS is off: there is no --tls-dir"]


def test_our_own_sockets(base: Path) -> None:
    checklist = Checklist()
    assert check_own_sockets(checklist, RunDir(str(base)))
    assert lines(checklist) == []  # QEMU's part is told later
    (base / "control").mkdir(0o755, parents=True)
    assert not check_own_sockets(checklist, RunDir(str(base)))
    assert not check_own_sockets(checklist, RunDir(f"{base}/{'x' * 80}"))
    other, long = lines(checklist)
    assert other.startswith(f"failure sockets: {base}/control: it must be this user's own directory with mode 0700; ")
    assert "too long for the path of a UNIX socket" in long


@pytest_twisted.ensureDeferred
async def test_a_vm_that_another_process_migrates(base: Path) -> None:
    """It is told by its control socket; its monitor is not even tried. Certificates and the tunnel are checked all the same."""
    settings = migration_settings(base, handshake_timeout=0.5)
    other = ControlSocket(reactor, str(base), Name.of_vm("web1", settings.qmp), Controllable())
    await other.open()
    try:
        report = await check(reactor, settings, measure=False)
    finally:
        await other.close()
    assert [(one.level, one.check) for one in report.findings] == [
        (Level.OK, "tls"),
        (Level.FAILURE, "source"),
        (Level.FAILURE, "tunnel"),
    ]
    assert "web1 is being migrated by another process" in str(report.findings[1])
