"""Two layouts of the same files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nbdtun.errors import ConfigError
from nbdtun.tls import contexts, issue
from nbdtun.tls.store import CA_CERT, CA_CRL, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY, Layout, Store
from tests.tls.stage.conversation import Conversation

NAMES = (CA_CERT, CA_CRL, SERVER_CERT, SERVER_KEY, CLIENT_CERT, CLIENT_KEY)


def test_qemus_layout_is_flat(tmp_path: Path) -> None:
    assert [Store.of(tmp_path) / name for name in NAMES] == [tmp_path / name for name in NAMES]


def test_libvirts_layout(tmp_path: Path) -> None:
    store = Store(Path("/etc/pki"), Layout.LIBVIRT)
    assert [f"{store / name}" for name in NAMES] == [
        "/etc/pki/CA/cacert.pem",
        "/etc/pki/CA/cacrl.pem",
        "/etc/pki/libvirt/servercert.pem",
        "/etc/pki/libvirt/private/serverkey.pem",
        "/etc/pki/libvirt/clientcert.pem",
        "/etc/pki/libvirt/private/clientkey.pem",
    ]


def test_libvirts_layout_of_a_user_is_flat(tmp_path: Path) -> None:
    (tmp_path / "cacert.pem").touch()
    store = Store(tmp_path, Layout.LIBVIRT)
    assert [path.name for path in map(store.__truediv__, NAMES)] == [
        *("cacert.pem", "cacrl.pem", "servercert.pem", "serverkey.pem", "clientcert.pem", "clientkey.pem")
    ]


@pytest.mark.parametrize("flat", [True, False])
def test_both_ends_work_with_it(tmp_path: Path, flat: bool, talk: Callable[..., Conversation]) -> None:
    issue.make(tmp_path / "qemu", ["localhost"])
    root, here = tmp_path / "pki", Store.of(tmp_path / "qemu")
    root.mkdir()
    if flat:
        (root / "cacert.pem").touch()
    there = Store(root, Layout.LIBVIRT)
    for name in (CA_CERT, SERVER_CERT, SERVER_KEY, CLIENT_CERT, CLIENT_KEY):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_bytes((here / name).read_bytes())
        (there / name).chmod(0o600)
    assert talk(contexts.server_context(there), contexts.client_context(there), "localhost").errors == (None, None)
    (there / CLIENT_CERT).unlink()
    with pytest.raises(ConfigError, match=r"no clientcert.pem; the source needs cacert.pem, clientcert.pem and clientkey.pem"):
        contexts.client_context(there)
