"""What expires when, in a directory of certificates and below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.errors import ConfigError
from nbdtun.tls import issue
from nbdtun.tls.pki.inventory import inventory
from tests.tls.stage.authority import CLIENT, HERE, SERVER, authority, revoke, write


def test_all_that_a_ca_has_signed(tmp_path: Path) -> None:
    ca = tmp_path / "ca"
    issue.make(ca, ["dest.example"])
    issue.make(tmp_path / "host", ["host2.example"], ca=ca)
    found = [(f"{each.path.relative_to(ca)}".partition("/")[0], each.what) for each in inventory(ca)]
    assert found[-1][0] == "ca-cert.pem"
    assert found[-1][1].startswith("CA CN=nbdtun CA ")
    assert sorted(found[:-1]) == [
        ("client-cert.pem", "cn:nbdtun client"),
        ("issued", "dns:host2.example"),
        ("issued", "dns:host2.example"),
        ("server-cert.pem", "dns:dest.example"),
    ]
    ends = [each.end or 0 for each in inventory(ca)]
    assert ends == sorted(ends)


def test_revocation_lists_and_what_cannot_be_read(tmp_path: Path) -> None:
    made = authority()
    write(tmp_path / "tls", [made], made.issue("localhost", *HERE, purpose=SERVER), made.issue("client", purpose=CLIENT))
    revoke(tmp_path / "tls", made.revokes(7))
    (tmp_path / "tls/odd.pem").write_text("-----BEGIN CERTIFICATE-----\nodd")
    assert {each.path.name: each.what for each in inventory(tmp_path)}.keys() == {
        *("ca-cert.pem", "ca-crl.pem", "server-cert.pem", "client-cert.pem")
    }
    with pytest.raises(ConfigError, match="none: No such file or directory"):
        inventory(tmp_path / "none")
