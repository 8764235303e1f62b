"""
An existing PKI works as it is: our verdict is that of QEMU's own TLS on what certtool and openssl make.

Each directory is used by ``qemu-nbd --tls-creds`` at both ends, and by both of ours. Where we are stricter on purpose, our line says so.
QEMU's own check of the files that it presents is off: 7.2 refuses chains there which it accepts from a peer.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lab.daemon import Twistd, free_port
from lab.process import wait
from nbdtun.errors import TLSError
from nbdtun.tls.trust import Trust
from tests.tls.stage.authority import CLIENT, HERE, HOUR, SERVER, Holder, authority, write
from tests.tls.stage.conversation import Conversation
from tests.tls.stage.fixtures import pair, talk

__all__ = ["pair", "talk"]

#: The CAs that are trusted, and the certificates of server and client.
Ends = tuple[tuple[Holder, ...], Holder, Holder]

CA = authority()
MIDDLE = CA.below("middle")
SERVER_END, CLIENT_END = CA.issue("localhost", *HERE, purpose=SERVER), CA.issue("client", purpose=CLIENT)
STRANGER = authority("stranger")
PLAIN = authority("plain", signs_lists=False)
PLAIN_ENDS = PLAIN.issue("localhost", *HERE, purpose=SERVER), PLAIN.issue("client", purpose=CLIENT)
LOW = MIDDLE.issue("localhost", *HERE, purpose=SERVER), MIDDLE.issue("client", purpose=CLIENT)
HIGH = LOW[0].with_chain(MIDDLE), LOW[1].with_chain(MIDDLE)


def _keyed(key: Callable[[], Any]) -> Ends:
    """As certtool and openssl make them, with one kind of key."""
    ca = authority("keyed", key=key())
    return (ca,), ca.issue("localhost", *HERE, purpose=SERVER, key=key()), ca.issue("client", purpose=CLIENT, key=key())


@frozen
class Case:
    """A directory, and the verdict on it; ``stricter`` is what our line says where QEMU accepts it."""

    ends: Ends
    lists: tuple[Any, ...] = ()
    accepted: bool = True
    stricter: str = ""


_PLAIN_ENDS: Ends = ((PLAIN,), *PLAIN_ENDS)
_ENDS: Ends = ((CA,), SERVER_END, CLIENT_END)
CASES = {
    "plain": Case(_ENDS),
    "rsa": Case(_keyed(lambda: rsa.generate_private_key(65537, 2048))),
    "p384": Case(_keyed(lambda: ec.generate_private_key(ec.SECP384R1()))),
    "ed25519": Case(_keyed(ed25519.Ed25519PrivateKey.generate)),
    "chains": Case(((CA,), *HIGH)),
    "a chain that is not presented": Case(((CA,), *LOW), accepted=False),
    "a chain in ca-cert.pem": Case(((CA, MIDDLE), *LOW)),
    "only the lower CA": Case(((MIDDLE,), *LOW)),
    "another CA": Case(((CA,), SERVER_END, STRANGER.issue("client", purpose=CLIENT)), accepted=False),
    "empty list": Case(_ENDS, lists=(CA.revokes(),)),
    "revoked": Case(_ENDS, lists=(CA.revokes(CLIENT_END.serial),), accepted=False),
    "list out of date": Case(_ENDS, lists=(CA.revokes(until=-HOUR / 2),)),
    "revoked by a list out of date": Case(_ENDS, lists=(CA.revokes(CLIENT_END.serial, until=-HOUR / 2),), accepted=False),
    "a CA without crl_signing_key": Case(_PLAIN_ENDS, lists=(PLAIN.revokes(),)),
    "revoked by such a CA": Case(_PLAIN_ENDS, lists=(PLAIN.revokes(PLAIN_ENDS[1].serial),), accepted=False),
    "another CA's list": Case(_ENDS, lists=(STRANGER.revokes(CLIENT_END.serial),)),
    "only the upper CA has a list": Case(((CA,), *HIGH), lists=(CA.revokes(),)),
    "only the lower CA has a list": Case(((CA,), *HIGH), lists=(MIDDLE.revokes(),)),
    "the lower CA is revoked": Case(((CA,), SERVER_END, HIGH[1]), lists=(CA.revokes(MIDDLE.serial),), accepted=False),
    "revoked by the lower CA": Case(((CA,), *HIGH), lists=(MIDDLE.revokes(LOW[1].serial),), accepted=False),
    "no extended key usage": Case(((CA,), SERVER_END, CA.issue("client")), stricter="--any-purpose"),
    "revoked once": Case(
        _ENDS, lists=(CA.revokes(CLIENT_END.serial, since=-2 * HOUR), CA.revokes()), stricter="its certificate has been revoked"
    ),
    "revoked server": Case(_ENDS, lists=(CA.revokes(SERVER_END.serial),), stricter="its certificate has been revoked, says the source"),
    "name in CN only": Case(
        ((CA,), CA.issue("localhost", purpose=SERVER), CLIENT_END), stricter="has no subjectAltName, and its common name does not count"
    ),
}


def qemus_verdict(directory: Path, tmp_path: Path) -> bool:
    """Whether QEMU's own ends would talk."""
    image, port = tmp_path / "image", free_port()
    image.write_bytes(bytes(1 << 20))
    creds = f"tls-creds-x509,id=tls,dir={directory},sanity-check=no,endpoint="
    serve = ["qemu-nbd", "-f", "raw", "-b", "127.0.0.1", "-p", f"{port}", "-t", "--object", f"{creds}server,verify-peer=yes"]
    with (tmp_path / "qemu-nbd.log").open("w") as log, subprocess.Popen([*serve, "--tls-creds", "tls", image], stderr=log) as server:
        try:
            wait(lambda: _listens(port), 10, "qemu-nbd")
            ask = ["qemu-nbd", "-L", "-b", "localhost", "-p", f"{port}", "--object", f"{creds}client", "--tls-creds", "tls"]
            return subprocess.run(ask, capture_output=True, timeout=20).returncode == 0
        finally:
            server.kill()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def our_verdicts(directory: Path, talk: Callable[..., Conversation]) -> list[str]:
    """Why the destination refuses the source, and the reverse."""
    trusts = Trust(directory, server=True), Trust(directory, server=False)
    talked = talk(*(trust.context() for trust in trusts), "localhost")
    refusals = []
    for trust, end in zip(trusts, (talked.server, talked.client), strict=True):
        if end.presented is None:
            refusals.append(end.error or "")
            continue
        try:
            trust.check(end.presented, "it")
        except TLSError as refusal:
            refusals.append(str(refusal))
    return [refusal for refusal in refusals if refusal]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_verdict_is_qemus(case: Case, tmp_path: Path, talk: Callable[..., Conversation]) -> None:
    directory = write(tmp_path / "tls", *case.ends, case.lists)
    assert qemus_verdict(directory, tmp_path) is case.accepted
    refusals = our_verdicts(directory, talk)
    assert (not refusals) is (case.accepted and not case.stricter), refusals
    if refusals:
        reason = case.stricter or ("revoked" if case.lists else "not signed by a CA")
        assert any(reason in refusal for refusal in refusals)


CERTTOOL = """
for end in ca server client; do certtool --generate-privkey --outfile $end-key.pem; done
printf 'cn = Example CA\\nca\\ncert_signing_key\\n' >ca.info
printf 'cn = localhost\\ndns_name = localhost\\nip_address = 127.0.0.1\\ntls_www_server\\nencryption_key\\nsigning_key\\n' >server.info
printf 'cn = client\\ntls_www_client\\nencryption_key\\nsigning_key\\n' >client.info
printf 'crl_next_update = 30\\ncrl_number = 1\\n' >crl.info
certtool --generate-self-signed --load-privkey ca-key.pem --template ca.info --outfile ca-cert.pem
ca='--load-ca-certificate ca-cert.pem --load-ca-privkey ca-key.pem'
for end in server client; do
    certtool --generate-certificate $ca --load-privkey $end-key.pem --template $end.info --outfile $end-cert.pem
done
certtool --generate-crl $ca --template crl.info --outfile ca-crl.pem
"""

OPENSSL = """
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca-cert.pem -days 30 -subj '/CN=Example CA'
printf 'subjectAltName=DNS:localhost\\nextendedKeyUsage=serverAuth\\n' >server.ext
printf 'extendedKeyUsage=clientAuth\\n' >client.ext
for end in server client; do
    openssl req -newkey rsa:2048 -nodes -keyout $end-key.pem -out $end.csr -subj /CN=$end
    openssl x509 -req -in $end.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 30 -extfile $end.ext -out $end-cert.pem
done
"""


@pytest.mark.parametrize(("tool", "recipe"), [("certtool", CERTTOOL), ("openssl", OPENSSL)])
def test_what_a_tool_makes_by_its_documentation(tool: str, recipe: str, tmp_path: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is missing")
    directory = tmp_path / "tls"
    directory.mkdir()
    subprocess.run(["bash", "-ec", recipe], cwd=directory, check=True, capture_output=True, timeout=60)
    assert qemus_verdict(directory, tmp_path)
    port = free_port()
    common = ["--tls-dir", f"{directory}", "--run-dir", f"{tmp_path / 'run'}"]
    listen = ["--listen", f"tcp:{port}:interface=127.0.0.1", "--target", f"nbd=unix:{tmp_path / 'nowhere'}"]
    forward = ["--connect", f"tcp:localhost:{port}", "--forward", f"nbd=unix:{tmp_path / 'entrance'}"]
    with Twistd(tmp_path, "nbdtun-dest", *listen, *common) as destination:
        destination.wait_port(port)
        with Twistd(tmp_path, "nbdtun-source", *forward, *common) as source:
            wait(lambda: "answers" in source.log() or "[tls]" in source.log(), 20, "the greeting", source)
            assert "answers" in source.log()
