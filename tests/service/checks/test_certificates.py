from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from nbdtun.migration.catalogue import CERTIFICATES, DESTINATION_CERTIFICATES, Kind
from nbdtun.migration.check.checklist import Checklist
from nbdtun.service.checks.certificates import check_certificates
from nbdtun.tls import issue
from nbdtun.tls.store import CA_CRL, Store
from tests.tls.stage.authority import HOUR, authority, revoke


def lines(directory: Path, kinds: tuple[Kind, Kind, Kind] = CERTIFICATES) -> list[str]:
    checklist = Checklist()
    check_certificates(checklist, kinds, Store.of(directory), "client-cert.pem")
    return [f"{one.level.value} {one.check}: {one}".replace(f"{directory}/", "") for one in checklist.findings]


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (700, "ok tls: client-cert.pem: valid until 20"),
        (29, "warning tls: client-cert.pem: expires soon, on 20"),
        (-0.03, "failure tls: client-cert.pem: expired on 20"),
    ],
)
def test_until_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: float, text: str) -> None:
    monkeypatch.setattr("nbdtun.tls.pki.authority.LIFETIME", datetime.timedelta(days=days))
    issue.make(tmp_path, ["localhost"])
    ours, authority = lines(tmp_path)
    assert ours.startswith(text)
    assert authority.startswith("ok tls: ca-cert.pem: valid until 20")
    assert ("`nbdtun certs DIR --host NAME --force` does" in ours) is ours.startswith("warning")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "client-cert.pem").write_text("nonsense")
    assert lines(tmp_path) == [
        "ok tls: client-cert.pem: its expiry date cannot be read",
        "failure tls: ca-cert.pem: No such file or directory",
    ]


CA = authority()
WEEK = 7 * 24 * HOUR
REMEDY = "put the CA's next list there"


@pytest.mark.parametrize(
    ("made", "ends", "text"),
    [
        (-WEEK, -HOUR, "warning tls: ca-crl.pem: out of date since 20"),
        (-WEEK, 23 * HOUR, "warning tls: ca-crl.pem: out of date soon, on 20"),
        (-WEEK, 25 * HOUR, "ok tls: ca-crl.pem: up to date until 20"),
        (-17 * HOUR, 7 * HOUR, "warning tls: ca-crl.pem: out of date soon, on 20"),
        (-15 * HOUR, 9 * HOUR, "ok tls: ca-crl.pem: up to date until 20"),
    ],
    ids=["past", "within a day", "later", "in the last third of its life", "before that"],
)
def test_until_when_a_list_is_good(made: datetime.timedelta, ends: datetime.timedelta, text: str, tmp_path: Path) -> None:
    issue.make(tmp_path, ["localhost"])
    revoke(tmp_path, CA.revokes(since=made, until=ends))
    *_, told = lines(tmp_path)
    assert told.startswith(text)
    assert told.endswith(REMEDY) is text.startswith("warning")


def test_the_list_of_a_ca_that_has_a_newer_one_does_not_count(tmp_path: Path) -> None:
    issue.make(tmp_path, ["localhost"])
    revoke(tmp_path, CA.revokes(1, until=-HOUR / 2), CA.revokes(1, 2, until=WEEK), authority("other").revokes(until=WEEK))
    assert lines(tmp_path)[2].startswith("ok tls: ca-crl.pem: up to date until 20")


def test_a_list_that_was_damaged_while_the_daemon_runs(tmp_path: Path) -> None:
    issue.make(tmp_path, ["localhost"])
    (tmp_path / CA_CRL).write_text("-----BEGIN X509 CRL-----")
    assert lines(tmp_path)[2].startswith("failure tls: ca-crl.pem: damaged revocation list")


def test_a_warning_says_which_end_it_is_of(tmp_path: Path) -> None:
    issue.make(tmp_path, ["localhost"])
    revoke(tmp_path, CA.revokes(until=-HOUR / 2))
    assert lines(tmp_path)[2].startswith("warning tls: ca-crl.pem: out of date")
    assert lines(tmp_path, DESTINATION_CERTIFICATES)[2].startswith("warning destination-tls: the destination's ca-crl.pem: out of date")
