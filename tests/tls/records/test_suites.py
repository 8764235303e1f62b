"""The suites: by OpenSSL's names, and no others."""

from __future__ import annotations

import ssl

import pytest

from nbdtun.errors import TLSError
from nbdtun.tls.records.suites import CHANGE_AFTER, MAX_RECORDS, SUITES, suite


def test_whatever_openssl_offers_by_default_is_served() -> None:
    offered = {each["name"] for each in ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).get_ciphers() if each["protocol"] == "TLSv1.3"}
    assert offered <= set(SUITES)


def test_another_one_is_named_with_a_remedy() -> None:
    with pytest.raises(TLSError, match="TLS_AES_128_CCM_SHA256 is served only with --records library"):
        suite("TLS_AES_128_CCM_SHA256")


def test_a_sender_changes_its_key_long_before_a_receiver_refuses_it() -> None:
    assert CHANGE_AFTER + 16 < MAX_RECORDS < 2**24.5 + 1
