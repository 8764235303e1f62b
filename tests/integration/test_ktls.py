"""A kernel that has TLS, in a machine of its own: all that the tunnel does with TLS, and it is really the kernel that encrypts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab import machine

TESTS = [
    "tests/tls/test_ktls.py",
    "tests/tunnel/channels/test_link.py",
    "tests/tunnel/source/test_client.py",
    "tests/tunnel/test_end_to_end.py",
]


@pytest.mark.slow
def test_the_tunnel_with_tls_in_the_kernel(directory: Path) -> None:
    status, told = machine.run(
        directory,
        f"python3 -m pytest -q --color=no -p no:cacheprovider {' '.join(TESTS)} && cat /proc/net/tls_stat",
        folders=["nbdtun", "twisted", "tests", "lab"],
        packages=["nbdtun", "pytest", "pytest-twisted", "hypothesis"],
        drivers=["aesni_intel", "ghash_clmulni_intel", "gcm", "ctr", "ghash_generic", "tls"],
    )
    assert status == 0, told[-5000:]
    assert re.search(r"\d+ passed", told)
    assert "tls module is missing or not loaded" not in told, "the test that needs it was skipped"
    written = re.search(r"TlsTxSw\s+(\d+)", told)
    assert written is not None
    assert int(written[1]) > 10
