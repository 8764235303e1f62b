"""Two real TLS ends talk over a socket pair; whatever is wrong between them, both operators read which of all things it is."""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from nbdtun import certs
from nbdtun.errors import ConfigError, TLSError
from nbdtun.tunnel import ktls, tls

PEER = "tcp:dest:10810"
Directory = Callable[..., Path]


@define
class End:
    """One end of a conversation: shakes hands, says one byte, hears one byte; or fails, and explains why."""

    sock: ssl.SSLSocket
    shaken: bool = False
    heard: bytes | None = None
    error: str | None = None
    raised: OSError | None = field(default=None, repr=False)
    identity: str | None = None

    def step(self) -> None:
        if self.error is not None or self.heard is not None:
            return
        try:
            self._talk()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self.raised = error
            self.error = str(tls.explain(error, PEER, self.sock))
            self.sock.close()

    def _talk(self) -> None:
        if not self.shaken:
            self.sock.do_handshake()
            self.shaken = True
            self.sock.send(b"!")
        self.heard = self.sock.recv(1)
        self.identity = tls.fingerprint(self.sock)


@define
class Conversation:
    server: End
    client: End

    def run(self) -> Conversation:
        for _ in range(20):
            self.client.step()
            self.server.step()
        return self

    @property
    def errors(self) -> tuple[str | None, str | None]:
        return self.server.error, self.client.error


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def talk(pair: tuple[socket.socket, socket.socket]) -> Iterator[Callable[..., Conversation]]:
    ends: list[End] = []

    def start(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "dest.example") -> Conversation:
        ends.append(End(tls.wrap_server(server, pair[0])))
        ends.append(End(tls.wrap_client(client, pair[1], name)))
        return Conversation(*ends).run()

    yield start
    for end in ends:
        end.sock.close()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Directory:
    """Makes directories: of one CA unless ``ca`` names another; their certificates may be valid too early or too late."""

    def make(ca: str = "ca", start: float = -3600, end: float = 3600, hosts: tuple[str, ...] = ("dest.example", "192.0.2.1")) -> Path:
        path = tmp_path / f"{ca}{start}{end}{len(hosts)}"
        authority = tmp_path / ca
        if not authority.exists():
            certs.make(authority, ["localhost"])
        path.mkdir()
        for name in (tls.CA_CERT, tls.CA_KEY):
            shutil.copy(authority / name, path)
        with monkeypatch.context() as patch:
            patch.setattr(certs, "BACKDATED", datetime.timedelta(seconds=-start))
            patch.setattr(certs, "LIFETIME", datetime.timedelta(seconds=end))
            certs.make(path, list(hosts))
        return path

    return make


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an end use an outdated certificate of its own, which it would refuse to start with."""
    monkeypatch.setattr(tls, "_refuse_outdated", lambda path, pem: None)


def anonymous(directory: Path) -> ssl.SSLContext:
    """A client that trusts the right CA and has no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(directory / tls.CA_CERT)
    return context


def test_both_ends_prove_who_they_are(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    talked = talk(tls.server_context(d), tls.client_context(d))
    assert (talked.server.heard, talked.client.heard) == (b"!", b"!")
    assert talked.client.sock.version() == "TLSv1.3"
    for end, file in ((talked.client, tls.SERVER_CERT), (talked.server, tls.CLIENT_CERT)):
        assert end.identity == x509.load_pem_x509_certificate((d / file).read_bytes()).fingerprint(hashes.SHA256()).hex()


@pytest.mark.parametrize("name", ["192.0.2.1", "DEST.example.", "[192.0.2.1]"])
def test_names_and_addresses_are_verified_as_operators_write_them(
    name: str, directory: Directory, talk: Callable[..., Conversation]
) -> None:
    d = directory()
    assert talk(tls.server_context(d), tls.client_context(d), name).errors == (None, None)


def test_no_session_tickets_and_no_silent_ends(directory: Directory) -> None:
    d = directory()
    server, client = tls.server_context(d), tls.client_context(d)
    assert server.num_tickets == 0
    for context in (server, client):
        assert not context.options & ssl.OP_IGNORE_UNEXPECTED_EOF
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.options & ktls.OPTION == ktls.OPTION
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert client.check_hostname


def test_even_if_the_hosts_openssl_ignores_silent_ends_we_do_not() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    tls._harden(context)
    assert not context.options & ssl.OP_IGNORE_UNEXPECTED_EOF


@pytest.mark.parametrize("left", ["server", "client"])
def test_a_torn_connection_does_not_read_like_an_end(left: str, directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    talked = talk(tls.server_context(d), tls.client_context(d))
    gone, stays = (talked.client, talked.server) if left == "server" else (talked.server, talked.client)
    with socket.socket(fileno=os.dup(gone.sock.fileno())) as cable:
        cable.shutdown(socket.SHUT_WR)
    with pytest.raises(ssl.SSLError) as torn:
        stays.sock.recv(1)
    assert tls.is_end(torn.value)


@pytest.mark.parametrize(
    ("server", "client", "server_says", "client_says"),
    [
        (
            {},
            {"ca": "other"},
            "it refused our certificate, as not signed by a CA in its ca-cert.pem",
            "its certificate is not signed by a CA in our ca-cert.pem",
        ),
        ({"end": -60}, {}, "it refused our certificate, as expired by its clock", "its certificate has expired"),
        (
            {"start": 600},
            {},
            "it refused our certificate, as for another name or not valid yet; its log says which",
            "its certificate is not valid yet; compare the clocks of both hosts",
        ),
        ({}, {"end": -60}, "its certificate has expired", "it refused our certificate, as expired by its clock"),
        (
            {},
            {"start": 600},
            "its certificate is not valid yet; compare the clocks of both hosts",
            "it refused our certificate, as for another name or not valid yet; its log says which",
        ),
        (
            {"hosts": ("a.example", "b.example", "10.0.0.1")},
            {},
            "it refused our certificate, as for another name or not valid yet; its log says which",
            "its certificate is for a.example, b.example, 10.0.0.1, not for dest.example (--tls-name verifies another name)",
        ),
    ],
    ids=["server's CA", "server expired", "server not yet valid", "client expired", "client not yet valid", "name"],
)
@pytest.mark.usefixtures("lenient")
def test_what_is_wrong_with_a_certificate_is_said_at_both_ends(
    server: dict[str, object],
    client: dict[str, object],
    server_says: str,
    client_says: str,
    directory: Directory,
    talk: Callable[..., Conversation],
) -> None:
    talked = talk(tls.server_context(directory(**server)), tls.client_context(directory(**client) if client else directory(end=7200)))
    assert talked.errors == (f"{PEER}: {server_says}", f"{PEER}: {client_says}")
    assert isinstance(talked.client.raised, ssl.SSLError)


def test_a_wrong_address_is_told_with_the_names_that_there_are(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    _, client = talk(tls.server_context(d), tls.client_context(d), "198.51.100.7").errors
    assert client == f"{PEER}: its certificate is for dest.example, 192.0.2.1, not for 198.51.100.7 (--tls-name verifies another name)"


def test_without_the_socket_a_wrong_name_is_still_told(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    raised = talk(tls.server_context(d), tls.client_context(d), "other.example").client.raised
    assert raised is not None
    assert str(tls.explain(raised, PEER)) == f"{PEER}: its certificate is not for other.example (--tls-name verifies another name)"


def test_a_client_of_another_ca_learns_it_from_its_first_read(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    stranger = tls.client_context(directory(ca="other"))
    stranger.load_verify_locations(d / tls.CA_CERT)
    talked = talk(tls.server_context(d), stranger)
    assert talked.client.shaken  # which is why the handshake's errors are not all of them
    assert talked.errors == (
        f"{PEER}: its certificate is not signed by a CA in our ca-cert.pem",
        f"{PEER}: it refused our certificate, as not signed by a CA in its ca-cert.pem",
    )


def test_a_client_without_a_certificate(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    talked = talk(tls.server_context(d), anonymous(d))
    assert talked.client.shaken
    assert talked.errors == (f"{PEER}: it presented no certificate", f"{PEER}: it wants a certificate, and we presented none")


def test_a_client_that_presents_the_servers_certificate(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d, wrong = directory(), directory(end=7200)
    shutil.copy(wrong / tls.SERVER_CERT, wrong / tls.CLIENT_CERT)
    shutil.copy(wrong / tls.SERVER_KEY, wrong / tls.CLIENT_KEY)
    server, client = talk(tls.server_context(d), tls.client_context(wrong)).errors
    assert server is not None
    assert server.startswith(f"{PEER}: its certificate was not made for this end")
    assert client == f"{PEER}: it refused our certificate, as not made for this end (extended key usage)"


def test_a_revoked_certificate(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    now = datetime.datetime.now(datetime.UTC)
    ca = x509.load_pem_x509_certificate((d / tls.CA_CERT).read_bytes())
    key = serialization.load_pem_private_key((d / tls.CA_KEY).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    serial = x509.load_pem_x509_certificate((d / tls.CLIENT_CERT).read_bytes()).serial_number
    revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
    issued = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(now - datetime.timedelta(hours=1))
    crl = issued.next_update(now + datetime.timedelta(hours=1)).add_revoked_certificate(revoked).sign(key, hashes.SHA256())
    client = tls.client_context(d)
    (d / tls.CA_CRL).write_bytes(crl.public_bytes(serialization.Encoding.PEM))
    assert talk(tls.server_context(d), client).errors == (
        f"{PEER}: its certificate has been revoked",
        f"{PEER}: it refused our certificate, as revoked",
    )


@pytest.mark.parametrize("old", ["server", "client"])
def test_an_older_tls_is_refused(old: str, directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    contexts = {"server": tls.server_context(d), "client": tls.client_context(d)}
    contexts[old].minimum_version = contexts[old].maximum_version = ssl.TLSVersion.TLSv1_2
    talked = talk(contexts["server"], contexts["client"])
    assert talked.errors == (f"{PEER}: it speaks no TLS 1.3", f"{PEER}: it speaks no TLS 1.3")


@pytest.mark.parametrize(
    "greeting", [b"\0\4_ask\0\x011\0\x08_command\0\x0bOpenChannel\0\0", b"SSH-2.0-OpenSSH_9.2\r\n" * 2, b"NBDMAGICIHAVEOPT\0\3"]
)
@pytest.mark.parametrize("side", ["server", "client"])
def test_what_is_not_tls_is_called_so(side: str, greeting: bytes, directory: Directory, pair: tuple[socket.socket, socket.socket]) -> None:
    d = directory()
    end = End(tls.wrap_server(tls.server_context(d), pair[0]) if side == "server" else tls.wrap_client(tls.client_context(d), pair[0], "a"))
    pair[1].send(greeting)
    end.step()
    end.step()
    assert end.error == f"{PEER}: it does not speak TLS; is it an nbdtun without --tls-dir, or another service?"


def test_http_is_called_so(directory: Directory, pair: tuple[socket.socket, socket.socket]) -> None:
    end = End(tls.wrap_server(tls.server_context(directory()), pair[0]))
    pair[1].send(b"GET / HTTP/1.1\r\n\r\n")
    end.step()
    assert end.error == f"{PEER}: it does not speak TLS but HTTP"


@pytest.mark.parametrize("said", [b"", b"\x16\x03"])
def test_a_connection_that_just_closes(said: bytes, directory: Directory, pair: tuple[socket.socket, socket.socket]) -> None:
    end = End(tls.wrap_client(tls.client_context(directory()), pair[0], "a"))
    end.step()
    pair[1].send(said)
    pair[1].recv(4096)
    pair[1].close()
    end.step()
    assert end.error is not None
    assert end.error.startswith(f"{PEER}: it closed the connection in the TLS handshake")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "it closed the connection in the TLS handshake"),
        (TimeoutError("timed out"), "it did not finish the TLS handshake in time"),
        (OSError(113, "No route to host"), "TLS failed: No route to host"),
        (ssl.SSLError(1, "[SSL] unheard of"), "TLS failed"),
    ],
)
def test_every_error_becomes_one_line(error: OSError, text: str) -> None:
    told = tls.explain(error, PEER)
    assert isinstance(told, TLSError)
    assert str(told).startswith(f"{PEER}: {text}")
    assert "\n" not in str(told)


@pytest.mark.parametrize(
    ("written", "verified"),
    [
        ("dest", "dest"),
        ("dest.example.", "dest.example"),
        ("[fd00::1]", "fd00::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("FD00:0::1", "fd00::1"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_verify_name(written: str, verified: str) -> None:
    assert tls.verify_name(written) == verified


@pytest.mark.parametrize("written", ["", ".", ".example", "a b", "a\0b", "a..b", "*.example", "x" * 64])
def test_what_cannot_be_verified_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="not a name that a certificate can be verified for"):
        tls.verify_name(written)


def test_a_fingerprint_needs_a_certificate() -> None:
    assert tls.fingerprint(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(TLSError, match="presented no certificate"):
        tls.fingerprint(b"")


# Loading.


@pytest.mark.parametrize("name", [tls.CA_CERT, tls.SERVER_CERT, tls.SERVER_KEY])
def test_a_missing_file_is_named(name: str, directory: Directory) -> None:
    d = directory()
    (d / name).unlink()
    with pytest.raises(ConfigError) as caught:
        tls.server_context(d)
    assert str(caught.value) == f"{d / name}: No such file or directory"


@pytest.mark.parametrize("name", [tls.CA_CERT, tls.CLIENT_CERT, tls.CLIENT_KEY])
def test_an_unreadable_file_is_named(name: str, directory: Directory) -> None:
    d = directory()
    (d / name).unlink()
    (d / name).mkdir()
    with pytest.raises(ConfigError) as caught:
        tls.client_context(d)
    assert str(caught.value) == f"{d / name}: Is a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_forbidden_key_is_named(directory: Directory) -> None:
    d = directory()
    (d / tls.CLIENT_KEY).chmod(0)
    with pytest.raises(ConfigError, match=r"client-key.pem: Permission denied"):
        tls.client_context(d)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (tls.CA_CERT, "not a PEM certificate"),
        (tls.SERVER_CERT, "not a PEM certificate"),
        (tls.SERVER_KEY, "not a PEM private key"),
        (tls.CA_CRL, "not a PEM revocation list"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x30\x82\x01\x0a"])
def test_a_file_that_is_not_pem_is_named(name: str, text: str, content: bytes, directory: Directory) -> None:
    d = directory()
    (d / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        tls.server_context(d)
    assert str(caught.value) == f"{d / name}: {text}"


@pytest.mark.parametrize(
    ("name", "label", "text"),
    [
        (tls.CA_CERT, "CERTIFICATE", "damaged certificate"),
        (tls.SERVER_CERT, "CERTIFICATE", "damaged certificate"),
        (tls.SERVER_KEY, "PRIVATE KEY", "damaged private key"),
        (tls.CA_CRL, "X509 CRL", "damaged revocation list"),
    ],
)
def test_a_damaged_file_is_named(name: str, label: str, text: str, directory: Directory) -> None:
    d = directory()
    (d / name).write_text(f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n")
    with pytest.raises(ConfigError) as caught:
        tls.server_context(d)
    assert str(caught.value).startswith(f"{d / name}: {text}")


def test_swapped_files_are_told_from_damaged_ones(directory: Directory) -> None:
    d = directory()
    (d / tls.SERVER_KEY).write_bytes((d / tls.SERVER_CERT).read_bytes())
    with pytest.raises(ConfigError, match=r"server-key.pem: not a PEM private key"):
        tls.server_context(d)


@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_a_key_of_another_certificate_is_named(kind: str, directory: Directory) -> None:
    d = directory()
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "EC" else rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (d / tls.SERVER_KEY).write_bytes(pem)
    with pytest.raises(ConfigError) as caught:
        tls.server_context(d)
    assert str(caught.value) == f"{d / tls.SERVER_KEY}: is not the key of {d / tls.SERVER_CERT}"


def test_a_key_with_a_passphrase_does_not_ask_for_it(directory: Directory) -> None:
    d = directory()
    key = serialization.load_pem_private_key((d / tls.SERVER_KEY).read_bytes(), None)
    hidden = serialization.BestAvailableEncryption(b"secret")
    (d / tls.SERVER_KEY).write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
    with pytest.raises(ConfigError, match=r"server-key.pem: is protected by a passphrase"):
        tls.server_context(d)


@pytest.mark.parametrize(("start", "end", "text"), [(-3600, -60, "expired on"), (600, 3600, "not valid before")])
def test_an_outdated_certificate_of_our_own_is_refused(start: float, end: float, text: str, directory: Directory) -> None:
    d = directory(start=start, end=end)
    with pytest.raises(ConfigError) as caught:
        tls.client_context(d)
    assert str(caught.value).startswith(f"{d / tls.CLIENT_CERT}: {text} 20")


def test_an_expired_ca_is_refused(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certs, "CA_LIFETIME", datetime.timedelta(seconds=3600))
    d = directory()
    monkeypatch.setattr("nbdtun.tunnel.tls.time.time", lambda: datetime.datetime.now().timestamp() + 7200)
    with pytest.raises(ConfigError, match=r"ca-cert.pem: expired on 20"):
        tls.client_context(d)


@pytest.mark.parametrize(("make", "text"), [(Path.touch, "Not a directory"), (lambda path: None, "No such file or directory")])
def test_a_directory_that_is_none(make: Callable[[Path], None], text: str, tmp_path: Path) -> None:
    make(tmp_path / "tls")
    with pytest.raises(ConfigError) as caught:
        tls.server_context(tmp_path / "tls")
    assert str(caught.value) == f"{tmp_path / 'tls'}: {text}"


def test_an_intermediate_in_ca_cert_pem_is_trusted_as_gnutls_does(
    directory: Directory, tmp_path: Path, talk: Callable[..., Conversation]
) -> None:
    root = certs._new_authority()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "middle")])
    built = certs._builder(name, root.certificate.subject, key.public_key(), certs._now() + datetime.timedelta(days=1))
    middle = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(root.key, hashes.SHA256())
    d = tmp_path / "intermediate"
    d.mkdir()
    for file, content in certs._pair(tls.CA_CERT, tls.CA_KEY, middle, key).items():
        (d / file).write_bytes(content)
    certs.make(d, ["dest.example"])
    assert talk(tls.server_context(d), tls.client_context(d)).errors == (None, None)


def test_who_hangs_up_before_the_handshake_has_just_gone(tls_dir: str) -> None:
    ours, theirs = socket.socketpair()
    theirs.send(b"\x16\x03\x01")
    theirs.close()
    ours.setblocking(False)
    with pytest.raises(OSError) as gone:  # noqa: PT011  # by whichever of the two, as the kernel tells it
        tls.wrap_server(tls.server_context(tls_dir), ours).do_handshake()
    told = str(tls.explain(gone.value, "it"))
    assert "closed" in told
    assert "failed" not in told
