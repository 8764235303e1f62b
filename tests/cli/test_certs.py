"""``nbdtun certs`` from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.stage import run


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("certs", "/tmp/nowhere"), "Missing option '--host': Name or address of the destination"),
        (("certs", "/tmp/nowhere", "--host", "a b"), "'a b' is neither a host name nor an IP address"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"nbdtun: {line}")
    assert err.count("\n") == 1


def test_certs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "certs", str(tmp_path / "pki"), "--host", "dest.example", "--host", "192.0.2.1")
    assert (status, err) == (0, "")
    assert out.startswith("A new CA has signed for both ends, valid until 20")
    assert (tmp_path / "pki" / "server-cert.pem").exists()
    status, out, err = run(capsys, "certs", str(tmp_path / "pki"), "--host", "dest.example")
    assert (status, out) == (2, "")
    assert "server-cert.pem exists already; --force replaces" in err
    status, out, err = run(capsys, "certs", str(tmp_path / "pki"), "--host", "dest.example", "--force")
    assert (status, err) == (0, "")
    assert out.startswith("The existing CA has signed for both ends")
