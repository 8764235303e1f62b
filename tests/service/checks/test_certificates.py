from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from nbdtun.migration.catalogue import CERTIFICATES
from nbdtun.migration.check.checklist import Checklist
from nbdtun.service.checks.certificates import check_certificates
from nbdtun.tls import issue


def lines(directory: Path) -> list[str]:
    checklist = Checklist()
    check_certificates(checklist, CERTIFICATES, str(directory), "client-cert.pem")
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
    monkeypatch.setattr(issue, "LIFETIME", datetime.timedelta(days=days))
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
