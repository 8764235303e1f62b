"""Whether the kernel encrypts: what stands in the way of it, and a socket's own word."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nbdtun.tunnel import ktls


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A Python that can, and the kernel's list."""
    monkeypatch.setattr(ssl, "OP_ENABLE_KTLS", 8, raising=False)
    monkeypatch.setattr(ktls, "_AVAILABLE", tmp_path / "ulp")
    return tmp_path / "ulp"


def test_a_python_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ssl, "OP_ENABLE_KTLS", raising=False)
    assert ktls.explain() == "kernel TLS is not used: this Python's ssl cannot ask for it (3.12 can)"


def test_a_kernel_that_cannot(able: Path) -> None:
    assert ktls.explain() == "kernel TLS is not used: the kernel has it not, or not loaded (modprobe tls)"
    able.write_text("espintcp mptcp\n")
    assert ktls.obstacle() == "the kernel has it not, or not loaded (modprobe tls)"


def test_both_can(able: Path) -> None:
    able.write_text("espintcp mptcp tls\n")
    assert ktls.obstacle() is None
    assert ktls.explain() == "kernel TLS is asked for"


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
