"""``nbdtun certs`` from outside."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.stage import run


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("certs", "/tmp/nowhere"), "Missing option '--host': Name or address of the destination"),
        (("certs", "/tmp/nowhere", "--list", "--csr", "/x"), "--ca, --request, --csr and --list are four different things"),
        (("certs", "/tmp/nowhere", "--list"), "/tmp/nowhere: No such file or directory"),
        (("certs", "/tmp/nowhere", "--host", "a", "--for", "dest"), "--for is for --csr"),
        (("certs", "/tmp/nowhere", "--host", "300.1.1.1"), "'300.1.1.1' is neither a host name nor an IP address"),
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


def test_a_host_whose_keys_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a request to a certificate, and the list of all."""
    ca, host = f"{tmp_path}/ca", f"{tmp_path}/host"
    run(capsys, "certs", ca, "--host", "dest.example")
    status, out, err = run(capsys, "certs", host, "--request", "--host", "host2.example")
    assert (status, err) == (0, "")
    assert "Take server-req.pem and client-req.pem to the CA:\n  nbdtun certs CA-DIR --csr server-req.pem\n" in out
    status, out, err = run(capsys, "certs", ca, "--csr", f"{host}/server-req.pem")
    assert (status, err) == (0, "")
    assert out.startswith(f"{host}/server-cert.pem: signed for the destination, CN=host2.example, with host2.example, valid until 20")
    status, out, err = run(capsys, "certs", f"{tmp_path}/third", "--ca", ca, "--host", "host3.example")
    assert (status, out.splitlines()[-1]) == (0, f"The CA's key stays in {ca}, with a copy of each certificate.")
    status, out, err = run(capsys, "certs", ca, "--list")
    assert (status, err) == (0, "")
    assert [line.rpartition("  ")[2] for line in out.splitlines()].count("dns:host3.example") == 2
    assert "ca-cert.pem" in out.splitlines()[-1]
    assert all(", in " in line for line in out.splitlines())


def test_a_ca_behind_a_passphrase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "certs", f"{tmp_path}", "--host", "dest.example")
    hide = ["openssl", "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:not told", "-in", f"{tmp_path}/ca-key.pem"]
    hidden = subprocess.run(hide, check=True, capture_output=True).stdout
    (tmp_path / "ca-key.pem").write_bytes(hidden)
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_text("not told\n")
    again = ["certs", f"{tmp_path}", "--host", "dest.example", "--force"]
    assert "give the file with it as --ca-password-file" in run(capsys, *again)[2]
    assert run(capsys, *again, "--ca-password-file", f"{tmp_path}/password")[0] == 0
