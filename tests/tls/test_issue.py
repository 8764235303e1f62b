"""Certificates as OpenSSL, GnuTLS and operators want them, and directories in which nothing is ever lost."""

from __future__ import annotations

import datetime
import ipaddress
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from nbdtun.errors import ConfigError
from nbdtun.tls import contexts, issue
from nbdtun.tls.pki import authority as pki
from nbdtun.tls.store import CA_CERT, CA_KEY, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY

ALL = {CA_CERT, CA_KEY, SERVER_CERT, SERVER_KEY, CLIENT_CERT, CLIENT_KEY}


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    issue.make(tmp_path / "pki", ["dest.example", "192.0.2.1", "fd00::1", "*.lab.example"])
    return tmp_path / "pki"


def test_exactly_the_files_that_qemu_knows(made: Path) -> None:
    assert set(contents(made)) == ALL


def test_keys_and_directory_are_their_owners_alone(made: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    for path in made.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if path.name.endswith("-key.pem") else 0o644)


def test_a_key_is_never_readable_to_others_even_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    fsync = os.fsync

    def noting(fd: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        fsync(fd)

    monkeypatch.setattr("nbdtun.ownership.files.os.fsync", noting)
    before = os.umask(0)
    try:
        issue.make(tmp_path, ["a"])
    finally:
        os.umask(before)
    assert sorted(modes) == [0o600] * 3 + [0o644] * 3


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    issue.make(tmp_path, ["a"])
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_hosts_are_in_the_servers_certificate_as_names_and_addresses(made: Path) -> None:
    names = load(made / SERVER_CERT).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["dest.example", "*.lab.example"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("fd00::1")]


@pytest.mark.parametrize(
    ("name", "purpose"), [(SERVER_CERT, ExtendedKeyUsageOID.SERVER_AUTH), (CLIENT_CERT, ExtendedKeyUsageOID.CLIENT_AUTH)]
)
def test_each_end_has_its_one_purpose(name: str, purpose: x509.ObjectIdentifier, made: Path) -> None:
    extensions = load(made / name).extensions
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [purpose]
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.value.digital_signature
    assert not usage.critical  # or libvirt asks for keyEncipherment
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_authority_signs_end_certificates_only(made: Path) -> None:
    extensions = load(made / CA_CERT).extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.value.path_length, constraints.critical) == (True, 0, True)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.value.key_cert_sign
    assert usage.critical


def test_signatures_and_keys_belong_together(made: Path) -> None:
    ca = load(made / CA_CERT)
    for certificate, key in ((SERVER_CERT, SERVER_KEY), (CLIENT_CERT, CLIENT_KEY), (CA_CERT, CA_KEY)):
        load(made / certificate).verify_directly_issued_by(ca)
        private = serialization.load_pem_private_key((made / key).read_bytes(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        assert private.curve.name == "secp256r1"
        assert private.public_key() == load(made / certificate).public_key()


def test_validity(made: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    ca, server = load(made / CA_CERT), load(made / SERVER_CERT)
    for certificate in (ca, server):
        assert datetime.timedelta(minutes=55) < now - certificate.not_valid_before_utc < datetime.timedelta(minutes=65)
    assert abs(ca.not_valid_after_utc - now - datetime.timedelta(days=3650)) < datetime.timedelta(minutes=5)
    assert abs(server.not_valid_after_utc - now - datetime.timedelta(days=730)) < datetime.timedelta(minutes=5)


def test_no_certificate_outlives_its_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki, "CA_LIFETIME", datetime.timedelta(days=3))
    issued = issue.make(tmp_path, ["a"])
    assert issued.expires == load(tmp_path / CA_CERT).not_valid_after_utc == load(tmp_path / CLIENT_CERT).not_valid_after_utc


def test_serials_differ(made: Path) -> None:
    assert len({load(made / name).serial_number for name in (CA_CERT, SERVER_CERT, CLIENT_CERT)}) == 3


def test_certificates_that_are_there_are_refused_and_untouched(made: Path) -> None:
    before = contents(made)
    with pytest.raises(ConfigError, match=r"server-cert.pem exists already; --force"):
        issue.make(made, ["other.example"])
    assert contents(made) == before


@pytest.mark.parametrize("left", [SERVER_KEY, CLIENT_CERT])
def test_even_one_of_them_is_enough_to_refuse(left: str, tmp_path: Path) -> None:
    (tmp_path / left).symlink_to("/nowhere")
    with pytest.raises(ConfigError, match="exists already"):
        issue.make(tmp_path, ["a"])
    assert list(tmp_path.iterdir()) == [tmp_path / left]


def test_force_replaces_both_ends_and_keeps_the_authority(made: Path) -> None:
    before = contents(made)
    issued = issue.make(made, ["other.example"], force=True)
    after = contents(made)
    assert not issued.new_authority
    assert {name for name in ALL if after[name] == before[name]} == {CA_CERT, CA_KEY}
    assert set(after) == ALL


def test_an_authority_signs_for_more_hosts(made: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for name in (CA_CERT, CA_KEY):
        (more / name).write_bytes((made / name).read_bytes())
    issued = issue.make(more, ["more.example"])
    assert (issued.new_authority, len(issued.written)) == (False, 4)
    load(more / SERVER_CERT).verify_directly_issued_by(load(made / CA_CERT))


@pytest.mark.parametrize("kind", ["RSA", "Ed25519"])
def test_an_authority_of_another_kind_of_key_signs_too(kind: str, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048) if kind == "RSA" else ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ours")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    builder = (
        builder.not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=9))
        .add_extension(x509.BasicConstraints(True, None), True)
    )
    authority = builder.sign(key, hashes.SHA256() if kind == "RSA" else None)
    for file, content in pki.pair(CA_CERT, CA_KEY, authority, key).items():
        (tmp_path / file).write_bytes(content)
    issue.make(tmp_path, ["a"])
    load(tmp_path / SERVER_CERT).verify_directly_issued_by(authority)
    contexts.server_context(tmp_path)


@pytest.mark.parametrize("missing", [CA_CERT, CA_KEY])
def test_half_an_authority_is_not_replaced(missing: str, made: Path) -> None:
    (made / missing).unlink()
    before = contents(made)
    with pytest.raises(ConfigError, match=rf"{missing}: No such file or directory"):
        issue.make(made, ["a"], force=True)
    assert contents(made) == before


def test_an_authority_whose_key_is_another_one(made: Path) -> None:
    (made / CA_KEY).write_bytes((made / SERVER_KEY).read_bytes())
    with pytest.raises(ConfigError, match=r"ca-key.pem: does not belong to .*ca-cert.pem"):
        issue.make(made, ["a"], force=True)


def test_an_end_certificate_cannot_sign(made: Path) -> None:
    (made / CA_CERT).write_bytes((made / SERVER_CERT).read_bytes())
    (made / CA_KEY).write_bytes((made / SERVER_KEY).read_bytes())
    with pytest.raises(ConfigError, match=r"ca-cert.pem: not a CA certificate"):
        issue.make(made, ["a"], force=True)


def test_an_expired_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki, "CA_LIFETIME", datetime.timedelta(seconds=-60))
    monkeypatch.setattr(pki.Authority, "sign", lambda *rest: (_ for _ in ()).throw(AssertionError("signed")))
    authority = pki.new_authority()
    for file, content in pki.pair(CA_CERT, CA_KEY, authority.certificate, authority.key).items():
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ConfigError, match=r"ca-cert.pem: expired on"):
        issue.make(tmp_path, ["a"])


@pytest.mark.parametrize(("name", "text"), [(CA_CERT, "not a PEM certificate"), (CA_KEY, "not a PEM private key")])
def test_a_damaged_authority(name: str, text: str, made: Path) -> None:
    (made / name).write_text("hello")
    with pytest.raises(ConfigError, match=f"{name}: {text}"):
        issue.make(made, ["a"], force=True)


def test_an_authority_behind_a_passphrase(made: Path) -> None:
    key = serialization.load_pem_private_key((made / CA_KEY).read_bytes(), None)
    hidden = serialization.BestAvailableEncryption(b"secret")
    (made / CA_KEY).write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
    with pytest.raises(ConfigError, match=r"ca-key.pem: protected by a passphrase; give the file with it as --ca-password-file"):
        issue.make(made, ["a"], force=True)


@pytest.mark.parametrize("host", ["", ".", "a b", "-a", "a-", "a..b", "a/b", "x" * 64, "a*.b", "*", "1.2.3.4/24", "a\n"])
def test_what_is_no_host(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="host name"):
        issue.make(tmp_path / "pki", [host])
    assert not (tmp_path / "pki").exists()


def test_no_host_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one host"):
        issue.make(tmp_path, [])


def test_a_long_name_is_verified_by_its_alternative_name(tmp_path: Path) -> None:
    host = ".".join(["a" * 40] * 3)
    issue.make(tmp_path, [host])
    names = load(tmp_path / SERVER_CERT).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [host]


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file.*: (Not a directory|File exists)"):
        issue.make(tmp_path / "file", ["a"])
    with pytest.raises(ConfigError, match=r"Not a directory"):
        issue.make(tmp_path / "file" / "below", ["a"])


def test_a_failed_write_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nbdtun.ownership.files.os.fsync", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        issue.make(tmp_path, ["a"])
    assert list(tmp_path.iterdir()) == []


class TestAnotherHost:
    """One more host, signed by a CA whose key stays in its directory."""

    def test_it_gets_both_certificates_and_no_key_of_the_ca(self, made: Path, tmp_path: Path) -> None:
        before = contents(made)
        issued = issue.make(tmp_path / "host", ["host2.example"], ca=made)
        assert not issued.new_authority
        assert set(contents(tmp_path / "host")) == ALL - {CA_KEY}
        assert {path.name: path.read_bytes() for path in made.iterdir() if path.is_file()} == before
        for name in (SERVER_CERT, CLIENT_CERT):
            certificate = load(tmp_path / "host" / name)
            certificate.verify_directly_issued_by(load(made / CA_CERT))
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.DNSName) == ["host2.example"]
            assert (made / "issued" / f"{certificate.serial_number:x}.pem").exists()
        contexts.server_context(tmp_path / "host")

    def test_a_directory_of_another_ca_is_left_alone(self, made: Path, tmp_path: Path) -> None:
        issue.make(tmp_path / "host", ["a"])
        before = contents(tmp_path / "host")
        for force, text in ((False, "exists already"), (True, "ca-cert.pem is that of another CA; choose another directory")):
            with pytest.raises(ConfigError, match=text):
                issue.make(tmp_path / "host", ["a"], ca=made, force=force)
        assert contents(tmp_path / "host") == before
        with pytest.raises(ConfigError, match=r"--ca .*none: there is no ca-cert.pem and ca-key.pem"):
            issue.make(tmp_path / "new", ["a"], ca=tmp_path / "none")
        assert not (tmp_path / "new").exists()
