"""Names in certificates, as any CA may have put them there."""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path

import pytest
from cryptography import x509

from nbdtun.errors import ConfigError
from nbdtun.tls.certificate import Kind, Name, Validity, date, names_of, validity
from tests.tls.stage.certificates import certificate


def test_all_kinds_of_names() -> None:
    names: tuple[x509.GeneralName, ...] = (
        x509.DNSName("src1.example"),
        x509.RFC822Name("ops@example"),
        x509.UniformResourceIdentifier("spiffe://example/src1"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    )
    assert names_of(certificate("src1", "other", alternative=names)) == (
        Name(Kind.DNS, "src1.example"),
        Name(Kind.EMAIL, "ops@example"),
        Name(Kind.URI, "spiffe://example/src1"),
        Name(Kind.ADDRESS, "192.0.2.1"),
    )


def test_a_common_name_counts_only_where_there_is_no_other() -> None:
    assert names_of(certificate("src1", "other")) == (Name(Kind.COMMON_NAME, "src1"), Name(Kind.COMMON_NAME, "other"))


def test_one_name_has_one_identity() -> None:
    assert Name(Kind.DNS, "A.Example").identity == "dns:a.example" == Name(Kind.DNS, "a.example").identity
    assert Name(Kind.URI, "https://a/B").identity == "uri:https://a/B"


def test_no_names() -> None:
    assert names_of(certificate()) == ()


@pytest.mark.parametrize("der", [b"", b"\x30\x03\x02\x01\x00", certificate("src1")[:-20], b"\xff" * 500])
def test_what_is_no_certificate_has_no_names(der: bytes) -> None:
    assert names_of(der) == ()


def test_a_name_cannot_write_to_the_terminal() -> None:
    assert str(Name(Kind.COMMON_NAME, "evil\x1b[2J\nrefused")) == "cn:evil?[2J refused"


PATH = Path("/pki/ca-cert.pem")


def test_a_certificate_is_read(tls_dir: Path) -> None:
    found = validity((tls_dir / "client-cert.pem").read_bytes())
    assert found is not None
    found.check(PATH)
    assert found.start < time.time() < found.end


def test_what_cannot_be_read_is_left_to_the_peers() -> None:
    assert validity(b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n") is None


def test_too_late_and_too_early() -> None:
    now = time.time()
    with pytest.raises(ConfigError, match=r"^/pki/ca-cert.pem: expired on 1970-01-02 00:00 UTC$"):
        Validity(0.0, 86400.0).check(PATH)
    with pytest.raises(ConfigError, match=rf"^/pki/ca-cert.pem: not valid before {date(now + 3600)}; is this host's clock right\?$"):
        Validity(now + 3600, now + 7200).check(PATH)
