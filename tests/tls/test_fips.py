"""FIPS mode, as the kernel tells it, or OpenSSL."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.tls import fips


@pytest.mark.parametrize(
    ("kernel", "openssl", "on"), [("1\n", 0, True), ("0\n", 0, False), ("0\n", 1, True), (None, 0, False), (None, 1, True)]
)
def test_either_may_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str | None, openssl: int, on: bool) -> None:
    file = tmp_path / "fips_enabled"
    if kernel is not None:
        file.write_text(kernel)
    monkeypatch.setattr(fips, "_KERNEL", file)
    monkeypatch.setattr("_hashlib.get_fips_mode", lambda: openssl)
    assert fips.fips_mode() is on


def test_a_python_that_cannot_ask_openssl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fips, "_KERNEL", tmp_path / "gone")
    monkeypatch.delattr("_hashlib.get_fips_mode")
    assert fips.fips_mode() is False
