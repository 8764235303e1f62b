"""Who makes the records: as wanted, but not against the system's policy; and the log says which."""

from __future__ import annotations

import pytest

from nbdtun.config import TunnelSettings
from nbdtun.service.tunnel import records
from nbdtun.service.tunnel.records import explain, fixed, in_force
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
