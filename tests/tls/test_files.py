"""Files that are missing, damaged, out of date or somebody else's are named, when they are loaded."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from nbdtun.errors import ConfigError
from nbdtun.tls import contexts
from nbdtun.tls.store import CA_CERT, CA_CRL, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY, Layout, Store
from nbdtun.tls.trust import Trust
from tests.powers import ordinary
from tests.tls.stage.conversation import Conversation, Directory


@pytest.mark.parametrize("name", [CA_CERT, SERVER_CERT, SERVER_KEY])
def test_a_missing_file_is_named(name: str, directory: Directory) -> None:
    d = directory()
    for end in (CLIENT_CERT, CLIENT_KEY):
        (d / end).unlink()
    (d / name).unlink()
    with pytest.raises(ConfigError) as caught:
        contexts.server_context(d)
    assert str(caught.value) == f"{d / name}: No such file or directory"


def test_the_other_ends_directory_is_told_as_such(directory: Directory) -> None:
    d = directory()
    (d / CLIENT_CERT).unlink()
    with pytest.raises(ConfigError) as caught:
        contexts.client_context(d)
    assert str(caught.value) == (
        f"--tls-dir {d}: it has the certificate of the destination, and no client-cert.pem; "
        "the source needs ca-cert.pem, client-cert.pem and client-key.pem"
    )


@pytest.mark.parametrize("name", [CA_CERT, CLIENT_CERT, CLIENT_KEY])
def test_an_unreadable_file_is_named(name: str, directory: Directory) -> None:
    d = directory()
    (d / name).unlink()
    (d / name).mkdir()
    with pytest.raises(ConfigError) as caught:
        contexts.client_context(d)
    assert str(caught.value) == f"{d / name}: Is a directory"


def test_a_forbidden_key_is_named(directory: Directory) -> None:
    d = directory()
    (d / CLIENT_KEY).chmod(0)
    with ordinary(), pytest.raises(ConfigError, match=r"client-key.pem: Permission denied"):
        contexts.client_context(d)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (CA_CERT, "not a PEM certificate"),
        (SERVER_CERT, "not a PEM certificate"),
        (SERVER_KEY, "not a PEM private key"),
        (CA_CRL, "not a PEM revocation list"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x30\x82\x01\x0a"])
def test_a_file_that_is_not_pem_is_named(name: str, text: str, content: bytes, directory: Directory) -> None:
    d = directory()
    (d / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Trust(d, server=True)
    assert str(caught.value) == f"{d / name}: {text}"


@pytest.mark.parametrize(
    ("name", "label", "text"),
    [
        (CA_CERT, "CERTIFICATE", "damaged certificate"),
        (SERVER_CERT, "CERTIFICATE", "damaged certificate"),
        (SERVER_KEY, "PRIVATE KEY", "damaged private key"),
        (CA_CRL, "X509 CRL", "damaged revocation list"),
    ],
)
def test_a_damaged_file_is_named(name: str, label: str, text: str, directory: Directory) -> None:
    d = directory()
    (d / name).write_text(f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n")
    with pytest.raises(ConfigError) as caught:
        Trust(d, server=True)
    assert str(caught.value).startswith(f"{d / name}: {text}")


def test_swapped_files_are_told_from_damaged_ones(directory: Directory) -> None:
    d = directory()
    (d / SERVER_KEY).write_bytes((d / SERVER_CERT).read_bytes())
    with pytest.raises(ConfigError, match=r"server-key.pem: not a PEM private key"):
        contexts.server_context(d)


@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_a_key_of_another_certificate_is_named(kind: str, directory: Directory) -> None:
    d = directory()
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "EC" else rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (d / SERVER_KEY).write_bytes(pem)
    with pytest.raises(ConfigError) as caught:
        contexts.server_context(d)
    assert str(caught.value) == f"{d / SERVER_KEY}: does not belong to {d / SERVER_CERT}"


def test_a_key_with_a_passphrase_does_not_ask_for_it(directory: Directory) -> None:
    d = directory()
    key = serialization.load_pem_private_key((d / SERVER_KEY).read_bytes(), None)
    hidden = serialization.BestAvailableEncryption(b"secret")
    (d / SERVER_KEY).write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
    with pytest.raises(ConfigError, match=r"server-key.pem: protected by a passphrase; give the file with it as --tls-password-file"):
        contexts.server_context(d)


class TestPassphrase:
    """A key that a passphrase protects, and the file with the passphrase."""

    @pytest.fixture
    def store(self, directory: Directory) -> Store:
        d = directory()
        for form, name in ((serialization.PrivateFormat.PKCS8, SERVER_KEY), (serialization.PrivateFormat.TraditionalOpenSSL, CLIENT_KEY)):
            key = serialization.load_pem_private_key((d / name).read_bytes(), None)
            hidden = serialization.BestAvailableEncryption(b"not told")
            (d / name).write_bytes(key.private_bytes(serialization.Encoding.PEM, form, hidden))
        password = d / "password"
        password.touch(mode=0o600)
        password.write_text("not told\n# a second line\n")
        return Store(d, password=password)

    def test_it_opens_the_key(self, store: Store, talk: Callable[..., Conversation]) -> None:
        talked = talk(contexts.server_context(store), contexts.client_context(store), "dest.example")
        assert talked.errors == (None, None)

    def test_another_one_does_not(self, store: Store) -> None:
        assert store.password is not None
        store.password.write_text("another\n")
        for make in (contexts.server_context, contexts.client_context):
            with pytest.raises(ConfigError, match=r"-key.pem: the passphrase in .*/password does not open it"):
                make(store)

    def test_a_key_without_one_needs_none(self, directory: Directory, store: Store) -> None:
        contexts.server_context(Store(directory(ca="other"), password=store.password))

    def test_a_file_that_others_can_read_is_refused(self, store: Store) -> None:
        assert store.password is not None
        store.password.chmod(0o644)
        with pytest.raises(ConfigError, match=r"password: a passphrase that other users can read or change \(mode 644\)"):
            contexts.server_context(store)
        store.password.unlink()
        with pytest.raises(ConfigError, match="password: No such file"):
            contexts.server_context(store)

    def test_a_new_key_has_a_new_one(self, store: Store, directory: Directory) -> None:
        """Both are read again, when either changes."""
        assert store.password is not None
        trust = Trust(store, server=True)
        before = trust.context()
        key = serialization.load_pem_private_key((store / SERVER_KEY).read_bytes(), b"not told")
        hidden = serialization.BestAvailableEncryption(b"the next")
        (store / SERVER_KEY).write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
        assert trust.context() is before
        store.password.write_text("the next")
        assert trust.context() is not before


@pytest.mark.parametrize(("start", "end", "text"), [(-3600, -60, "expired on"), (600, 3600, "not valid before")])
def test_an_outdated_certificate_of_our_own_is_refused(start: float, end: float, text: str, directory: Directory) -> None:
    d = directory(start=start, end=end)
    with pytest.raises(ConfigError) as caught:
        contexts.client_context(d)
    assert str(caught.value).startswith(f"{d / CLIENT_CERT}: {text} 20")


def test_an_expired_ca_is_refused(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.tls.pki.authority.CA_LIFETIME", datetime.timedelta(seconds=3600))
    d = directory()
    monkeypatch.setattr("nbdtun.tls.files.time.time", lambda: datetime.datetime.now().timestamp() + 7200)
    with pytest.raises(ConfigError, match=r"ca-cert.pem: expired on 20"):
        contexts.client_context(d)


@pytest.mark.parametrize(("make", "text"), [(Path.touch, "Not a directory"), (lambda path: None, "No such file or directory")])
def test_a_directory_that_is_none(make: Callable[[Path], None], text: str, tmp_path: Path) -> None:
    make(tmp_path / "tls")
    with pytest.raises(ConfigError) as caught:
        contexts.server_context(tmp_path / "tls")
    assert str(caught.value) == f"--tls-dir {tmp_path / 'tls'}: {text}"


def test_a_directory_that_may_not_be_reached(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    for layout in Layout:
        with ordinary(), pytest.raises(ConfigError, match=r"^--tls-dir /.*/closed/tls: Permission denied$"):
            contexts.server_context(Store(tmp_path / "closed/tls", layout))


@pytest.mark.parametrize(
    ("mode", "owner", "refused"),
    [(0o600, 0, False), (0o400, 0, False), (0o640, 0, False), (0o644, 0, True), (0o660, 0, True), (0o604, 0, True), (0o640, 65534, True)],
)
def test_a_key_that_others_can_read_is_refused(mode: int, owner: int, refused: bool, directory: Directory) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    d = directory()
    os.chown(d / SERVER_KEY, owner, -1)
    (d / SERVER_KEY).chmod(mode)
    if not refused:
        contexts.server_context(d)
        return
    with pytest.raises(ConfigError) as caught:
        contexts.server_context(d)
    proper = mode & (0o640 if owner == 0 else 0o600)
    assert str(caught.value) == (
        f"{d / SERVER_KEY}: a private key that other users can read or change (mode {mode:o}); "
        f"chmod {proper:o} {d / SERVER_KEY}, and replace it if they may have read it"
    )
