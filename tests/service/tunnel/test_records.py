"""Who makes the records: as wanted, but not against the system's policy; and the log says which."""

from __future__ import annotations

import pytest

from nbdtun.config import TunnelSettings
from nbdtun.service.tunnel import records
from nbdtun.service.tunnel.records import explain, fixed, hindrance, in_force
from nbdtun.tunnel.settings import Records


@pytest.mark.parametrize("wanted", Records)
@pytest.mark.parametrize("fips", [False, True])
def test_fips_mode_leaves_them_to_openssl(monkeypatch: pytest.MonkeyPatch, wanted: Records, fips: bool) -> None:
    monkeypatch.setattr(records, "fips_mode", lambda: fips)
    assert in_force(wanted) is (Records.LIBRARY if fips else wanted)


def test_the_log_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "fips_mode", lambda: False)
    assert explain(Records.BATCHED) == "TLS records: batched"
    assert explain(Records.LIBRARY).startswith("TLS records: by OpenSSL (kernel TLS is ")
    monkeypatch.setattr(records, "fips_mode", lambda: True)
    assert explain(Records.BATCHED) == "TLS records: by OpenSSL (FIPS mode is on)"


def test_whose_links_go_on_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "fips_mode", lambda: False)
    assert not fixed(TunnelSettings(insecure=True))
    assert not fixed(TunnelSettings(tls_dir="/pki"))
    assert "(--records library)" in fixed(TunnelSettings(tls_dir="/pki", records=Records.LIBRARY))


@pytest.mark.parametrize(
    ("fips", "wanted", "because", "remedy"),
    [
        (False, Records.LIBRARY, "--records library", "leave out one of the two"),
        (True, Records.LIBRARY, "FIPS mode is on", "leave out --workers"),
        (True, Records.BATCHED, "FIPS mode is on", "leave out --workers"),
    ],
)
def test_what_is_in_the_way_of_workers(monkeypatch: pytest.MonkeyPatch, fips: bool, wanted: Records, because: str, remedy: str) -> None:
    """Nobody can leave out FIPS mode."""
    monkeypatch.setattr(records, "fips_mode", lambda: fips)
    reason = f"its TLS records are made by OpenSSL ({because}), and links cannot be passed to another process"
    assert hindrance(TunnelSettings(tls_dir="/pki", records=wanted)) == (reason, remedy)
    assert hindrance(TunnelSettings(insecure=True, records=wanted)) is None
