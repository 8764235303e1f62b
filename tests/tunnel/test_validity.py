from __future__ import annotations

import time
from pathlib import Path

import pytest

from nbdtun.errors import ConfigError
from nbdtun.tunnel.validity import Validity, date, validity

PATH = Path("/pki/ca-cert.pem")


def test_a_certificate_is_read(tls_dir: Path) -> None:
    found = validity((tls_dir / "client-cert.pem").read_bytes())
    assert found is not None
    found.check(PATH)
    assert found.start < time.time() < found.end


def test_what_cannot_be_read_is_left_to_the_peers() -> None:
    assert validity(b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n") is None


def test_too_late_and_too_early() -> None:
    now = time.time()
    with pytest.raises(ConfigError, match=r"^/pki/ca-cert.pem: expired on 1970-01-02 00:00 UTC$"):
        Validity(0.0, 86400.0).check(PATH)
    with pytest.raises(ConfigError, match=rf"^/pki/ca-cert.pem: not valid before {date(now + 3600)}; is this host's clock right\?$"):
        Validity(now + 3600, now + 7200).check(PATH)
