"""Certificates for one migration: real handshakes, in memory."""

from __future__ import annotations

import os
import ssl

import pytest

from nbdtun.errors import TLSError
from nbdtun.tls.handshake import Handshake
from nbdtun.tls.throwaway import Identity


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> tuple[Handshake, Handshake]:
    """Let both ends shake hands; what either refuses is raised."""
    ends = Handshake(client, name), Handshake(server, None)
    done = [False, False]
    for _ in range(10):
        for number, end in enumerate(ends):
            done[number] = done[number] or end.step()
            if data := end.outgoing():
                ends[1 - number].feed(data)
    assert all(done)
    return ends


def test_two_ends_that_know_each_other() -> None:
    here, there = Identity.make(), Identity.make()
    client, server = shake(there.serving(here.certificate), here.asking(there.certificate), there.name)
    assert client.tls.version() == "TLSv1.3"
    assert client.result().presented.certificate == there.certificate
    assert server.result().presented.certificate == here.certificate


def test_another_client_is_refused() -> None:
    here, there, stranger = Identity.make(), Identity.make(), Identity.make()
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shake(there.serving(here.certificate), stranger.asking(there.certificate), there.name)


def test_another_server_is_refused() -> None:
    here, there, stranger = Identity.make(), Identity.make(), Identity.make()
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shake(stranger.serving(here.certificate), here.asking(there.certificate), stranger.name)


def test_the_same_end_under_another_name_is_refused() -> None:
    here, there = Identity.make(), Identity.make()
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shake(there.serving(here.certificate), here.asking(there.certificate), "other.nbdtun")


def test_before_a_client_is_known_none_is_asked_for_a_certificate() -> None:
    there = Identity.make()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    asking, serving = shake(there.introducing(), client, there.name)
    assert asking.result().presented.certificate == there.certificate
    assert serving.tls.getpeercert(binary_form=True) is None


def test_nothing_stays() -> None:
    here = Identity.make()
    before = os.listdir("/proc/self/fd")
    here.asking(Identity.make().certificate)
    assert os.listdir("/proc/self/fd") == before
    assert "PRIVATE" not in repr(here)


@pytest.mark.parametrize("nonsense", [b"", b"nonsense", b"\0" * 4096])
def test_nonsense_is_no_certificate(nonsense: bytes) -> None:
    with pytest.raises(TLSError, match="cannot be used"):
        Identity.make().serving(nonsense)
