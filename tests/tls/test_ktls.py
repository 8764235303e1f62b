"""Whether the kernel encrypts: what stands in the way of it, and a socket's own word."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nbdtun.tls import ktls


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An OpenSSL that can, and the kernel's list."""
    monkeypatch.setattr(ktls, "OPTION", 8)
    monkeypatch.setattr(ktls, "_AVAILABLE", tmp_path / "ulp")
    return tmp_path / "ulp"


def test_the_option_is_the_one_that_python_names() -> None:
    assert getattr(ssl, "OP_ENABLE_KTLS", ktls.OPTION) == ktls.OPTION


def test_an_openssl_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ktls, "OPTION", 0)
    monkeypatch.setattr(ssl, "OPENSSL_VERSION", "OpenSSL 1.1.1w  11 Sep 2023")
    assert ktls.explain() == "kernel TLS is off: OpenSSL 1.1.1w  11 Sep 2023 does not support it (OpenSSL 3.0 does)"


def test_a_kernel_that_cannot(able: Path) -> None:
    assert ktls.explain() == "kernel TLS is off: the kernel's tls module is missing or not loaded (modprobe tls)"
    able.write_text("espintcp mptcp\n")
    assert ktls.obstacle() == "the kernel's tls module is missing or not loaded (modprobe tls)"


def test_both_can(able: Path) -> None:
    able.write_text("espintcp mptcp tls\n")
    assert ktls.obstacle() is None
    assert ktls.explain() == "kernel TLS is requested"


def test_a_socket_tells() -> None:
    def sock(answer: Any) -> Any:
        def getsockopt(level: int, option: int, size: int) -> bytes:
            assert (level, option) == (socket.IPPROTO_TCP, ktls.TCP_ULP)
            if isinstance(answer, OSError):
                raise answer
            return bytes(answer)

        return SimpleNamespace(getsockopt=getsockopt)

    assert ktls.active(sock(b"tls\0"))
    assert not ktls.active(sock(b""))
    assert not ktls.active(sock(OSError("no TCP")))
    with socket.socket() as real:
        assert not ktls.active(real)
