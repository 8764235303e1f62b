"""What a peer must fulfil beyond OpenSSL's checks: a purpose, no revocation, and our protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nbdtun.errors import ConfigError, TLSError
from nbdtun.tls.presented import Presented
from nbdtun.tls.trust import Trust
from tests.tls.stage.authority import CLIENT, HERE, SERVER, authority, revoke, write
from tests.tls.stage.conversation import Conversation

CA = authority()
SERVER_END, CLIENT_END = CA.issue("localhost", *HERE, purpose=SERVER), CA.issue("client", purpose=CLIENT)
Talk = Callable[..., Conversation]


def meet(talk: Talk, near: Trust, far: Trust) -> tuple[Presented, Presented]:
    """What the server and the client have presented to each other."""
    talked = talk(near.context(), far.context(), "localhost")
    assert talked.errors == (None, None)
    assert talked.client.presented is not None
    assert talked.server.presented is not None
    return talked.client.presented, talked.server.presented


def verdict(trust: Trust, presented: Presented) -> str:
    try:
        trust.check(presented, "it")
    except TLSError as refusal:
        return str(refusal)
    return ""


def both(directory: Path) -> tuple[Trust, Trust]:
    return Trust(directory, server=True), Trust(directory, server=False)


def test_proper_ends_trust_each_other(talk: Talk, tmp_path: Path) -> None:
    far, near = both(write(tmp_path / "tls", [CA], SERVER_END, CLIENT_END))
    server, client = meet(talk, far, near)
    assert verdict(near, server) == verdict(far, client) == ""


def test_a_revocation_counts_at_both_ends_and_for_links_that_stand(talk: Talk, tmp_path: Path) -> None:
    directory = write(tmp_path / "tls", [CA], SERVER_END, CLIENT_END)
    far, near = both(directory)
    server, client = meet(talk, far, near)
    before = far.revision()
    revoke(directory, CA.revokes(SERVER_END.serial, CLIENT_END.serial))
    assert verdict(near, server) == "it: its certificate has been revoked, says the source's ca-crl.pem"
    assert verdict(far, client) == "it: its certificate has been revoked, says the destination's ca-crl.pem"
    assert far.revision() != before  # although a new link has noticed it first
    with pytest.raises(TLSError, match="revoked"):
        far.check_again(client, "it")


def test_other_files_take_the_place_of_the_first(talk: Talk, tmp_path: Path) -> None:
    """Their list is for the links that stand, too. Without them, nothing changes."""
    here = write(tmp_path / "tls", [CA], SERVER_END, CLIENT_END)
    there = write(tmp_path / "other", [CA], SERVER_END, CLIENT_END)
    revoke(there, CA.revokes(CLIENT_END.serial))
    far, near = both(here)
    _, client = meet(talk, far, near)
    before = far.revision()
    with pytest.raises(ConfigError, match="No such file"):
        far.move(tmp_path / "none", any_purpose=False)
    assert (far.revision(), verdict(far, client)) == (before, "")
    far.move(there, any_purpose=False)
    assert far.revision() != before
    with pytest.raises(TLSError, match="revoked"):
        far.check_again(client, "it")
    assert "revoked" in verdict(far, client)
    before = far.revision()
    revoke(there, CA.revokes(CLIENT_END.serial, SERVER_END.serial))
    assert far.revision() != before


def test_what_was_revoked_stays_so_with_other_files(talk: Talk, tmp_path: Path) -> None:
    """Those may have no list, or an older one."""
    here = write(tmp_path / "tls", [CA], SERVER_END, CLIENT_END)
    far, near = both(here)
    _, client = meet(talk, far, near)
    revoke(here, CA.revokes(CLIENT_END.serial))
    assert "revoked" in verdict(far, client)
    far.move(write(tmp_path / "other", [CA], SERVER_END, CLIENT_END), any_purpose=False)
    assert "revoked" in verdict(far, client)


@pytest.mark.parametrize(
    ("whose", "expected"),
    [
        ("server", "it: its certificate has no extended key usage; reissue it with serverAuth, or start the source with --any-purpose"),
        (
            "client",
            "it: its certificate has no extended key usage; reissue it with clientAuth, or start the destination with --any-purpose",
        ),
    ],
)
def test_a_certificate_for_everything_is_for_nothing(whose: str, expected: str, talk: Talk, tmp_path: Path) -> None:
    bare = CA.issue("localhost", *HERE)
    directory = write(tmp_path / "tls", [CA], bare if whose == "server" else SERVER_END, bare if whose == "client" else CLIENT_END)
    far, near = both(directory)
    server, client = meet(talk, far, near)
    here, presented = (near, server) if whose == "server" else (far, client)
    assert verdict(here, presented) == expected
    assert verdict(Trust(directory, server=whose == "client", any_purpose=True), presented) == ""


def test_a_common_name_is_no_server_name(talk: Talk, tmp_path: Path) -> None:
    far, near = both(write(tmp_path / "tls", [CA], CA.issue("localhost", purpose=SERVER), CLIENT_END))
    talked = talk(far.context(), near.context(), "localhost")
    assert talked.client.error == (
        "tcp:dest:10810: its certificate has no subjectAltName, and its common name does not count; it is not for localhost"
    )


def test_another_service_with_our_certificates_is_none(talk: Talk, tmp_path: Path) -> None:
    far, near = both(write(tmp_path / "tls", [CA], SERVER_END, CLIENT_END))
    other = far.context()
    other.set_alpn_protocols(["h2"])
    server, client = meet(talk, far, near)
    expected = "it: it does not speak nbdtun/1 (ALPN): it is another service, or another version of nbdtun"
    assert verdict(near, server) == verdict(far, client) == expected
