"""Keys from traffic secrets: RFC 8448, section 3, and what a change leaves behind."""

from __future__ import annotations

import pytest

from nbdtun.tls.records.schedule import Traffic, expand_label
from nbdtun.tls.records.suites import SUITES, suite

CLIENT = bytes.fromhex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5")
SERVER = bytes.fromhex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643")


@pytest.mark.parametrize(
    ("secret", "key", "iv"),
    [
        (CLIENT, "17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9"),
        (SERVER, "9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984"),
    ],
)
def test_keys_are_those_of_the_rfc(secret: bytes, key: str, iv: str) -> None:
    agreed = suite("TLS_AES_128_GCM_SHA256")
    assert expand_label(agreed, secret, b"key", 16).hex() == key
    assert expand_label(agreed, secret, b"iv", 12).hex() == iv
    assert Traffic(agreed, secret).nonce == int(iv, 16)


@pytest.mark.parametrize("name", SUITES)
def test_each_change_gives_other_keys_and_both_ends_the_same(name: str) -> None:
    size = 48 if "384" in name else 32
    ours, theirs, seen = Traffic(suite(name), bytes(size)), Traffic(suite(name), bytes(size)), set()
    for _ in range(4):
        assert ours.nonce == theirs.nonce
        sealed = ours.cipher.encrypt(bytes(12), b"data", b"")
        assert theirs.cipher.decrypt(bytes(12), sealed, b"") == b"data"
        seen.add((ours.nonce, sealed))
        ours.change()
        theirs.change()
    assert len(seen) == 4


def test_a_wiped_secret_is_gone() -> None:
    traffic = Traffic(suite("TLS_AES_128_GCM_SHA256"), CLIENT)
    kept = traffic._secret
    traffic.change()
    assert kept == bytes(32)
    traffic.wipe()
    assert traffic._secret == bytes(32)
    assert repr(traffic) == "<Traffic under AESGCM>"
