"""The key log: secrets of our own connections, taken once, and gone afterwards."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from nbdtun.errors import TLSError
from nbdtun.tls.keylog import CLIENT, SERVER, KeyLog


@pytest.fixture
def context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def tell(context: ssl.SSLContext, *lines: str) -> None:
    """As OpenSSL does."""
    with open(context.keylog_filename, "a") as log:
        log.writelines(f"{line}\n" for line in lines)


def test_secrets_are_taken_once(context: ssl.SSLContext) -> None:
    log = KeyLog.of(context)
    tell(context, f"CLIENT_HANDSHAKE_TRAFFIC_SECRET {'00' * 32} {'aa' * 32}", f"{CLIENT} {'00' * 32} {'bb' * 32}")
    tell(context, f"{SERVER} {'00' * 32} {'cc' * 48}")
    assert log.take() == {CLIENT: bytes([0xBB] * 32), SERVER: bytes([0xCC] * 48)}
    assert log.take() == {}


def test_nothing_stays_in_the_file(context: ssl.SSLContext) -> None:
    log = KeyLog.of(context)
    tell(context, f"{CLIENT} {'00' * 32} {'bb' * 32}")
    log.take()
    assert os.fstat(log._file).st_size == 0
    assert Path(context.keylog_filename).read_bytes() == b""


def test_a_context_has_one_and_it_ends_with_it(context: ssl.SSLContext) -> None:
    log = KeyLog.of(context)
    assert KeyLog.of(context) is log
    file = log._file
    assert not os.get_inheritable(file)
    log.__del__()
    log._file = -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


def test_where_it_cannot_be_had_there_is_a_remedy(context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(name: str) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", unable)
    with pytest.raises(TLSError, match=r"TLS records cannot be batched \(Too many open files\); use --records library"):
        KeyLog(context)
