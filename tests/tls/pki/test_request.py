"""Requests of ours and of openssl's: what a CA signs of them, and what it does not."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from nbdtun.errors import ConfigError
from nbdtun.tls import contexts, issue
from nbdtun.tls.pki.authority import ISSUED
from nbdtun.tls.pki.request import CLIENT_REQ, SERVER_REQ, make_requests, sign_request
from nbdtun.tls.store import CA_CERT, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY
from tests.tls.stage.conversation import Conversation


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    issue.make(tmp_path / "ca", ["elsewhere"])
    return tmp_path / "ca"


def openssl(path: Path, *more: str, algorithm: str = "ec:P-256") -> Path:
    kind, _, curve = algorithm.partition(":P")
    key = ["-newkey", kind, "-pkeyopt", f"ec_paramgen_curve:P{curve}"] if curve else ["-newkey", algorithm]
    command = ["openssl", "req", "-new", *key, "-nodes", "-keyout", f"{path}.key", "-out", f"{path}", "-subj", "/CN=other", *more]
    subprocess.run(command, check=True, capture_output=True)
    return path


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_keys_stay_and_both_ends_work(tmp_path: Path, ca: Path, talk: Callable[..., Conversation]) -> None:
    host = tmp_path / "host"
    assert make_requests(host, ["dest.example", "192.0.2.1"]) == (host / SERVER_REQ, host / CLIENT_REQ)
    assert stat.S_IMODE((host / SERVER_KEY).stat().st_mode) == stat.S_IMODE((host / CLIENT_KEY).stat().st_mode) == 0o600
    signed = [sign_request(ca, host / name) for name in (SERVER_REQ, CLIENT_REQ)]
    assert [(each.path, each.names, each.ends) for each in signed] == [
        (host / SERVER_CERT, ("dest.example", "192.0.2.1"), ("dest",)),
        (host / CLIENT_CERT, ("dest.example", "192.0.2.1"), ("source",)),
    ]
    (host / CA_CERT).write_bytes((ca / CA_CERT).read_bytes())
    assert talk(contexts.server_context(host), contexts.client_context(host), "dest.example").errors == (None, None)
    assert {load(path).serial_number for path in (ca / ISSUED).iterdir()} == {load(each.path).serial_number for each in signed}
    for again in (lambda: make_requests(host, ["a"]), lambda: sign_request(ca, host / SERVER_REQ)):
        with pytest.raises(ConfigError, match="exists already; --force replaces"):
            again()
    make_requests(host, ["a"], force=True)
    sign_request(ca, host / SERVER_REQ, force=True)


def test_one_of_openssls_says_less(tmp_path: Path, ca: Path) -> None:
    request = openssl(tmp_path / "host.csr")
    with pytest.raises(ConfigError, match="does not say what its certificate is for; give --for dest or --for source"):
        sign_request(ca, request)
    with pytest.raises(ConfigError, match="a destination's certificate needs a name; give it as --host"):
        sign_request(ca, request, end="dest")
    signed = sign_request(ca, request, end="dest", hosts=["dest.example"])
    assert (signed.path, signed.subject, signed.names) == (tmp_path / "host-cert.pem", "CN=other", ("dest.example",))
    load(signed.path).verify_directly_issued_by(load(ca / CA_CERT))
    assert sign_request(ca, request, end="source", force=True).names == ()


def test_nothing_else_is_taken_over(tmp_path: Path, ca: Path) -> None:
    """A request that asks to be a CA gets a certificate for one end."""
    extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign", "extendedKeyUsage=codeSigning,clientAuth"]
    request = openssl(tmp_path / "host.csr", *(word for each in extensions for word in ("-addext", each)))
    certificate = load(sign_request(ca, request).path)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]


@pytest.mark.parametrize(
    ("more", "algorithm", "text"),
    [
        ([], "rsa:1024", "its key is not an EC or Ed25519 key, or an RSA key of 2048 bits or more"),
        (["-addext", "subjectAltName=otherName:1.2.3;UTF8:a"], "ec:P-256", r"a name of another kind \(OtherName\)"),
    ],
)
def test_what_no_ca_should_sign(tmp_path: Path, ca: Path, more: list[str], algorithm: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        sign_request(ca, openssl(tmp_path / "host.csr", *more, algorithm=algorithm), end="source")


def test_what_is_no_request(tmp_path: Path, ca: Path) -> None:
    request = openssl(tmp_path / "host.csr", "-addext", "extendedKeyUsage=clientAuth", algorithm="ed25519")
    lines = request.read_text().splitlines()
    lines[-2] = lines[-2][::-1]
    request.write_text("\n".join(lines))
    for path, text in ((request, "host.csr"), (ca / CA_CERT, "not a PEM certificate request"), (tmp_path / "none", "No such file")):
        with pytest.raises(ConfigError, match=text):
            sign_request(ca, path)
    with pytest.raises(ConfigError, match=r"there is no ca-cert.pem and ca-key.pem"):
        sign_request(tmp_path, request)
