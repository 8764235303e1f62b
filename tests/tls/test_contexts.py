"""Two real TLS ends talk over a socket pair: who they prove to be, and what is not left to defaults."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from nbdtun.errors import ConfigError, TLSError
from nbdtun.tls import contexts, issue, ktls
from nbdtun.tls.failures import explain, is_end
from nbdtun.tls.pki import authority
from nbdtun.tls.store import CA_CERT, CA_KEY, CLIENT_CERT, SERVER_CERT
from tests.tls.stage.conversation import PEER, Conversation, Directory


def test_both_ends_prove_who_they_are(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    talked = talk(contexts.server_context(d), contexts.client_context(d))
    assert (talked.server.heard, talked.client.heard) == (b"!", b"!")
    assert talked.client.sock.version() == "TLSv1.3"
    for end, file in ((talked.client, SERVER_CERT), (talked.server, CLIENT_CERT)):
        assert end.identity == x509.load_pem_x509_certificate((d / file).read_bytes()).fingerprint(hashes.SHA256()).hex()


@pytest.mark.parametrize("name", ["192.0.2.1", "DEST.example.", "[192.0.2.1]"])
def test_names_and_addresses_are_verified_as_operators_write_them(
    name: str, directory: Directory, talk: Callable[..., Conversation]
) -> None:
    d = directory()
    assert talk(contexts.server_context(d), contexts.client_context(d), name).errors == (None, None)


def test_no_session_tickets_and_no_silent_ends(directory: Directory) -> None:
    d = directory()
    server, client = contexts.server_context(d), contexts.client_context(d)
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
    contexts.harden(context)
    assert not context.options & ssl.OP_IGNORE_UNEXPECTED_EOF


@pytest.mark.parametrize("left", ["server", "client"])
def test_a_torn_connection_does_not_read_like_an_end(left: str, directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    talked = talk(contexts.server_context(d), contexts.client_context(d))
    gone, stays = (talked.client, talked.server) if left == "server" else (talked.server, talked.client)
    with socket.socket(fileno=os.dup(gone.sock.fileno())) as cable:
        cable.shutdown(socket.SHUT_WR)
    with pytest.raises(ssl.SSLError) as torn:
        stays.sock.recv(1)
    assert is_end(torn.value)


@pytest.mark.parametrize("old", ["server", "client"])
def test_an_older_tls_is_refused(old: str, directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    made = {"server": contexts.server_context(d), "client": contexts.client_context(d)}
    made[old].minimum_version = made[old].maximum_version = ssl.TLSVersion.TLSv1_2
    talked = talk(made["server"], made["client"])
    assert talked.errors == (f"{PEER}: it does not support TLS 1.3", f"{PEER}: it does not support TLS 1.3")


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
    assert contexts.verify_name(written) == verified


@pytest.mark.parametrize("written", ["", ".", ".example", "a b", "a\0b", "a..b", "*.example", "x" * 64])
def test_what_cannot_be_verified_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="not a name that a certificate can be verified for"):
        contexts.verify_name(written)


def test_a_fingerprint_needs_a_certificate() -> None:
    assert contexts.fingerprint(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(TLSError, match="presented no certificate"):
        contexts.fingerprint(b"")


def test_an_intermediate_in_ca_cert_pem_is_trusted_as_gnutls_does(
    directory: Directory, tmp_path: Path, talk: Callable[..., Conversation]
) -> None:
    root = authority.new_authority()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "middle")])
    built = authority._builder(name, root.certificate.subject, key.public_key(), authority._now() + datetime.timedelta(days=1))
    middle = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(root.key, hashes.SHA256())
    d = tmp_path / "intermediate"
    d.mkdir()
    for file, content in authority.pair(CA_CERT, CA_KEY, middle, key).items():
        (d / file).write_bytes(content)
    issue.make(d, ["dest.example"])
    assert talk(contexts.server_context(d), contexts.client_context(d)).errors == (None, None)


def test_who_hangs_up_before_the_handshake_has_just_gone(tls_dir: str) -> None:
    ours, theirs = socket.socketpair()
    theirs.send(b"\x16\x03\x01")
    theirs.close()
    ours.setblocking(False)
    with pytest.raises(OSError) as gone:  # noqa: PT011  # by whichever of the two, as the kernel tells it
        contexts.wrap_server(contexts.server_context(tls_dir), ours).do_handshake()
    told = str(explain(gone.value, "it"))
    assert "closed" in told
    assert "failed" not in told
