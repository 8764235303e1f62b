"""Until when the files of TLS are valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.service.local.expiries import expiries
from nbdtun.tls.issue import make
from nbdtun.tls.store import Store
from tests.tls.stage.authority import authority, revoke


def test_a_certificate_and_its_ca(tmp_path: Path) -> None:
    issued = make(tmp_path, ["localhost"], force=False)
    found = expiries(Store.of(f"{tmp_path}"), "server-cert.pem")
    assert found.keys() == {"server-cert.pem", "ca-cert.pem"}
    assert found["server-cert.pem"] == pytest.approx(issued.expires.timestamp(), abs=5)
    assert found["server-cert.pem"] <= found["ca-cert.pem"]


def test_a_revocation_list_is_to_be_replaced(tmp_path: Path) -> None:
    found = authority().revokes(7)
    revoke(tmp_path, found)
    assert found.next_update_utc is not None
    assert expiries(Store.of(f"{tmp_path}"), "server-cert.pem") == {"ca-crl.pem": found.next_update_utc.timestamp()}


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    assert expiries(None, "server-cert.pem") == expiries(Store.of(f"{tmp_path}"), "server-cert.pem") == {}
    for name in ("server-cert.pem", "ca-cert.pem", "ca-crl.pem"):
        (tmp_path / name).write_text("not one")
    assert expiries(Store.of(f"{tmp_path}"), "server-cert.pem") == {}
