"""The release, and until when the files of TLS are valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun import __version__
from nbdtun.metrics.host import of
from nbdtun.tls.issue import make
from nbdtun.tls.store import Store
from tests.metrics.stage import read


def test_its_release_and_its_certificates(tmp_path: Path) -> None:
    issued = make(tmp_path, ["localhost"], force=False)
    found = read(of(Store.of(f"{tmp_path}"), "server-cert.pem"))
    assert found.pop(f'nbdtun_build_info{{version="{__version__}"}}') == 1
    assert found['nbdtun_certificate_expiry_timestamp_seconds{file="server-cert.pem"}'] == pytest.approx(issued.expires.timestamp(), abs=5)
    assert found.keys() == {f'nbdtun_certificate_expiry_timestamp_seconds{{file="{name}-cert.pem"}}' for name in ("server", "ca")}


def test_without_tls_there_are_none() -> None:
    assert read(of(None, "server-cert.pem")) == {f'nbdtun_build_info{{version="{__version__}"}}': 1}
