"""Revocation lists: obeyed along the whole chain, whatever their shape; and nobody is trusted while one is missing that was there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nbdtun.errors import ConfigError, TLSError
from nbdtun.tls.revocation import Revocations, stamp
from nbdtun.tls.store import CA_CRL
from tests.powers import ordinary
from tests.tls.stage.authority import CLIENT, HOUR, Holder, authority, revoke

ROOT = authority("root")
MIDDLE = ROOT.below("middle")
CLIENT_CERTIFICATE = MIDDLE.issue("client", purpose=CLIENT)
STRANGER = authority("stranger")


def chain(*holders: Holder) -> tuple[bytes, ...]:
    return tuple(each.certificate.public_bytes(serialization.Encoding.DER) for each in holders)


CHAIN = chain(CLIENT_CERTIFICATE, MIDDLE, ROOT)


def verdict(revocations: Revocations, presented: tuple[bytes, ...] = CHAIN) -> str:
    """Why it is refused; empty if it is not."""
    revocations.look()
    try:
        revocations.check(presented, "it", "the source")
    except TLSError as refusal:
        return str(refusal)
    return ""


REVOKED = "it: its certificate has been revoked, says the source's ca-crl.pem"
CA_REVOKED = "it: the certificate of its CA has been revoked, says the source's ca-crl.pem"


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ([], ""),
        ([MIDDLE.revokes()], ""),
        ([MIDDLE.revokes(CLIENT_CERTIFICATE.serial)], REVOKED),
        ([ROOT.revokes(MIDDLE.serial)], CA_REVOKED),
        ([ROOT.revokes(CLIENT_CERTIFICATE.serial)], ""),
        ([STRANGER.revokes(CLIENT_CERTIFICATE.serial)], ""),
        ([ROOT.revokes(), MIDDLE.revokes(CLIENT_CERTIFICATE.serial)], REVOKED),
        ([MIDDLE.revokes(CLIENT_CERTIFICATE.serial, until=-HOUR / 2)], REVOKED),
        ([MIDDLE.revokes(CLIENT_CERTIFICATE.serial, since=HOUR / 2)], REVOKED),
        ([MIDDLE.revokes(CLIENT_CERTIFICATE.serial, key=STRANGER.key)], REVOKED),
        ([MIDDLE.revokes(CLIENT_CERTIFICATE.serial, since=-2 * HOUR), MIDDLE.revokes()], REVOKED),
    ],
    ids=["none", "empty", "leaf", "its CA", "another CA's", "a stranger's", "two CAs", "out of date", "future", "forged", "older"],
)
def test_a_chain_and_its_lists(lists: list[Any], expected: str, tmp_path: Path) -> None:
    revoke(tmp_path, *lists)
    assert verdict(Revocations(tmp_path / CA_CRL)) == expected


def test_a_list_that_comes_later_is_obeyed_and_what_it_revoked_stays_so(tmp_path: Path) -> None:
    revocations = Revocations(tmp_path / CA_CRL)
    assert verdict(revocations) == ""
    revoke(tmp_path, MIDDLE.revokes(CLIENT_CERTIFICATE.serial))
    assert verdict(revocations) == REVOKED
    revoke(tmp_path, MIDDLE.revokes())
    assert verdict(revocations) == REVOKED
    assert revocations.revision == 2


@pytest.mark.parametrize("content", [None, b"", b"no list", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"])
def test_one_that_was_there_and_is_no_longer_lets_nobody_in(content: bytes | None, tmp_path: Path, said: list[str]) -> None:
    revoke(tmp_path, MIDDLE.revokes())
    revocations = Revocations(tmp_path / CA_CRL)
    assert verdict(revocations) == ""
    os.unlink(tmp_path / CA_CRL) if content is None else (tmp_path / CA_CRL).write_bytes(content)
    assert verdict(revocations).startswith(f"it: it is unknown whether its certificate is revoked: the source's {tmp_path / CA_CRL}: ")
    assert said[-1].endswith("; until it can be read, no link is made, as certificates may be revoked")
    revocations.check_known(CHAIN, "it", "the source")  # a standing link goes on
    revoke(tmp_path, MIDDLE.revokes())
    assert verdict(revocations) == ""


@pytest.mark.parametrize("cut", [50, 200], ids=["in its first line", "in its content"])
@pytest.mark.parametrize("which", [0, 1])
def test_one_of_two_that_is_cut_off_lets_nobody_in(which: int, cut: int, tmp_path: Path) -> None:
    revocations = Revocations(tmp_path / CA_CRL)
    lists = [each.public_bytes(serialization.Encoding.PEM) for each in (MIDDLE.revokes(), MIDDLE.revokes(CLIENT_CERTIFICATE.serial))]
    lists[which] = lists[which][:cut] + b"\n"
    (tmp_path / CA_CRL).write_bytes(b"".join(lists))
    assert verdict(revocations).endswith("ca-crl.pem: damaged revocation list")


def test_a_certificate_that_cannot_be_parsed_may_be_revoked(tmp_path: Path) -> None:
    revoke(tmp_path, MIDDLE.revokes())
    revocations = Revocations(tmp_path / CA_CRL)
    assert verdict(revocations, (CHAIN[0], b"strange")) == ""  # nobody is revoked
    revoke(tmp_path, MIDDLE.revokes(1))
    assert verdict(revocations, (CHAIN[0], b"strange")).endswith("its chain cannot be parsed")


def test_one_that_cannot_even_be_looked_for_lets_nobody_in(tmp_path: Path) -> None:
    """As under ``twistd --uid``, where only root may enter the directory: nobody knows what is in it."""
    (tmp_path / "tls").mkdir()
    revocations = Revocations(tmp_path / "tls" / CA_CRL)
    (tmp_path / "tls").chmod(0)
    with ordinary():
        assert verdict(revocations).endswith("Permission denied")


def test_a_damaged_one_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / CA_CRL).write_text("-----BEGIN X509 CRL-----\n")
    with pytest.raises(ConfigError, match=r"ca-crl.pem: damaged revocation list"):
        Revocations(tmp_path / CA_CRL)


def test_one_that_is_out_of_date_is_told_of(tmp_path: Path, said: list[str]) -> None:
    revoke(tmp_path, MIDDLE.revokes(1, 2, until=-HOUR / 2))
    Revocations(tmp_path / CA_CRL)
    counted, old = said
    assert counted == f"{tmp_path / CA_CRL}: 2 certificates are revoked"
    assert old.startswith(f"{tmp_path / CA_CRL}: out of date since 20")


def test_a_ca_that_may_not_sign_lists_signs_them(tmp_path: Path) -> None:
    """QEMU's documentation makes such a CA: with cert_signing_key only."""
    plain = authority("plain", signs_lists=False, key=ec.generate_private_key(ec.SECP384R1()))
    client, other = plain.issue("client"), plain.issue("other")
    revoke(tmp_path, plain.revokes(other.serial))
    revocations = Revocations(tmp_path / CA_CRL)
    assert verdict(revocations, chain(client, plain)) == ""
    assert verdict(revocations, chain(other, plain)) == REVOKED


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / CA_CRL
    assert stamp(path) is None
    path.write_text("a")
    before = stamp(path)
    path.write_text("ab")
    assert stamp(path) != before
