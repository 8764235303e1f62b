"""A CA's key with a passphrase; test_issue has the rest of it, with what it signs."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from nbdtun.errors import ConfigError
from nbdtun.tls import issue
from nbdtun.tls.pki.authority import find_authority
from nbdtun.tls.store import CA_KEY


def test_none(tmp_path: Path) -> None:
    assert find_authority(tmp_path) is None


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_one_behind_a_passphrase_signs_with_it(tmp_path: Path, form: serialization.PrivateFormat) -> None:
    issue.make(tmp_path, ["a"])
    key = serialization.load_pem_private_key((tmp_path / CA_KEY).read_bytes(), None)
    hidden = serialization.BestAvailableEncryption(b"not told")
    (tmp_path / CA_KEY).write_bytes(key.private_bytes(serialization.Encoding.PEM, form, hidden))
    for password, text in ((None, "protected by a passphrase; give the file"), (b"another", "the passphrase does not open it")):
        with pytest.raises(ConfigError, match=f"ca-key.pem: {text}"):
            find_authority(tmp_path, password)
    issue.make(tmp_path, ["a"], force=True, password=b"not told")
