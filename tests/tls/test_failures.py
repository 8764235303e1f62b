"""Whatever is wrong between two TLS ends, both operators read which of all things it is."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from nbdtun.errors import LinkLost, TLSError, TunnelError
from nbdtun.tls import contexts, files
from nbdtun.tls.failures import explain
from nbdtun.tls.store import CA_CERT, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY
from tests.tls.stage.conversation import PEER, Conversation, Directory, End


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an end use an outdated certificate of its own, which it would refuse to start with."""
    monkeypatch.setattr(files, "validity", lambda pem: None)


def anonymous(directory: Path) -> ssl.SSLContext:
    """A client that trusts the right CA and has no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(directory / CA_CERT)
    return context


@pytest.mark.parametrize(
    ("server", "client", "server_says", "client_says"),
    [
        (
            {},
            {"ca": "other"},
            "it refused our certificate: not signed by a CA in its ca-cert.pem",
            "its certificate is not signed by a CA in our ca-cert.pem",
        ),
        ({"end": -60}, {}, "it refused our certificate: expired, by its clock", "its certificate has expired"),
        (
            {"start": 600},
            {},
            "it refused our certificate: made for another name, or not valid yet; its log says which",
            "its certificate is not valid yet; compare the clocks of both hosts",
        ),
        ({}, {"end": -60}, "its certificate has expired", "it refused our certificate: expired, by its clock"),
        (
            {},
            {"start": 600},
            "its certificate is not valid yet; compare the clocks of both hosts",
            "it refused our certificate: made for another name, or not valid yet; its log says which",
        ),
        (
            {"hosts": ("a.example", "b.example", "10.0.0.1")},
            {},
            "it refused our certificate: made for another name, or not valid yet; its log says which",
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
    talked = talk(
        contexts.server_context(directory(**server)), contexts.client_context(directory(**client) if client else directory(end=7200))
    )
    assert talked.errors == (f"{PEER}: {server_says}", f"{PEER}: {client_says}")
    assert isinstance(talked.client.raised, ssl.SSLError)


def test_a_wrong_address_is_told_with_the_names_that_there_are(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    _, client = talk(contexts.server_context(d), contexts.client_context(d), "198.51.100.7").errors
    assert client == f"{PEER}: its certificate is for dest.example, 192.0.2.1, not for 198.51.100.7 (--tls-name verifies another name)"


def test_without_the_socket_a_wrong_name_is_still_told(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    raised = talk(contexts.server_context(d), contexts.client_context(d), "other.example").client.raised
    assert raised is not None
    assert str(explain(raised, PEER)) == f"{PEER}: its certificate is not for other.example (--tls-name verifies another name)"


def test_a_client_of_another_ca_learns_it_from_its_first_read(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    stranger = contexts.client_context(directory(ca="other"))
    stranger.load_verify_locations(d / CA_CERT)
    talked = talk(contexts.server_context(d), stranger)
    assert talked.client.shaken  # which is why the handshake's errors are not all of them
    assert talked.errors == (
        f"{PEER}: its certificate is not signed by a CA in our ca-cert.pem",
        f"{PEER}: it refused our certificate: not signed by a CA in its ca-cert.pem",
    )


def test_a_client_without_a_certificate(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    talked = talk(contexts.server_context(d), anonymous(d))
    assert talked.client.shaken
    assert talked.errors == (f"{PEER}: it presented no certificate", f"{PEER}: it requires a certificate, and we presented none")


def test_a_client_that_presents_the_servers_certificate(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d, wrong = directory(), directory(end=7200)
    shutil.copy(wrong / SERVER_CERT, wrong / CLIENT_CERT)
    shutil.copy(wrong / SERVER_KEY, wrong / CLIENT_KEY)
    server, client = talk(contexts.server_context(d), contexts.client_context(wrong)).errors
    assert server is not None
    assert server.startswith(f"{PEER}: its certificate has the wrong extended key usage")
    assert client == f"{PEER}: it refused our certificate: wrong extended key usage"


@pytest.mark.parametrize(
    "greeting", [b"\0\4_ask\0\x011\0\x08_command\0\x0bOpenChannel\0\0", b"SSH-2.0-OpenSSH_9.2\r\n" * 2, b"NBDMAGICIHAVEOPT\0\3"]
)
@pytest.mark.parametrize("side", ["server", "client"])
def test_what_is_not_tls_is_called_so(side: str, greeting: bytes, directory: Directory, pair: tuple[socket.socket, socket.socket]) -> None:
    d = directory()
    end = End(
        contexts.wrap_server(contexts.server_context(d), pair[0])
        if side == "server"
        else contexts.wrap_client(contexts.client_context(d), pair[0], "a")
    )
    pair[1].send(greeting)
    end.step()
    end.step()
    assert end.error == f"{PEER}: it does not speak TLS; is it an nbdtun without --tls-dir, or another service?"


def test_http_is_called_so(directory: Directory, pair: tuple[socket.socket, socket.socket]) -> None:
    end = End(contexts.wrap_server(contexts.server_context(directory()), pair[0]))
    pair[1].send(b"GET / HTTP/1.1\r\n\r\n")
    end.step()
    assert end.error == f"{PEER}: it speaks HTTP, not TLS"


@pytest.mark.parametrize("said", [b"", b"\x16\x03"])
def test_a_connection_that_just_closes(said: bytes, directory: Directory, pair: tuple[socket.socket, socket.socket]) -> None:
    end = End(contexts.wrap_client(contexts.client_context(directory()), pair[0], "a"))
    end.step()
    pair[1].send(said)
    pair[1].recv(4096)
    pair[1].close()
    end.step()
    assert end.error is not None
    assert end.error.startswith(f"{PEER}: it closed the connection during or right after the TLS handshake")


def with_reason(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            ConnectionResetError(104, "Connection reset by peer"),
            LinkLost,
            "it closed the connection during or right after the TLS handshake",
        ),
        (TimeoutError("timed out"), LinkLost, "it did not finish the TLS handshake in time"),
        (OSError(113, "No route to host"), LinkLost, "TLS failed: No route to host"),
        (with_reason("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), LinkLost, "a TLS record failed authentication: it was altered in transit"),
        (with_reason("SSLV3_ALERT_BAD_RECORD_MAC"), LinkLost, "a TLS record failed authentication: it was altered in transit"),
        (with_reason("TLSV1_ALERT_UNKNOWN_CA"), TLSError, "it refused our certificate"),
        (ssl.SSLError(1, "[SSL] unheard of"), TLSError, "TLS failed"),
    ],
)
def test_every_error_becomes_one_line(error: OSError, kind: type[TunnelError], text: str) -> None:
    """The network's own are lost links, after which another attempt is made."""
    told = explain(error, PEER)
    assert type(told) is kind
    assert str(told).startswith(f"{PEER}: {text}")
    assert "\n" not in str(told)
