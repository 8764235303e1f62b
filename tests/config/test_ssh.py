from __future__ import annotations

import pytest

from nbdtun.config.ssh import SSHAddress, is_ssh
from nbdtun.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://dest", SSHAddress("dest")),
        ("ssh://dest/", SSHAddress("dest")),
        ("ssh://root@dest.example.org:2222", SSHAddress("dest.example.org", "root", 2222)),
        ("ssh://first.last@10.0.0.7", SSHAddress("10.0.0.7", "first.last")),
        ("ssh://[fe80::1%eth0]:22", SSHAddress("fe80::1%eth0", None, 22)),
        ("ssh://an_alias", SSHAddress("an_alias")),
    ],
)
def test_an_address(text: str, address: SSHAddress) -> None:
    assert is_ssh(text)
    assert SSHAddress.parse(text) == address
    assert SSHAddress.parse(f"{address}") == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ssh://", "form ssh"),
        ("ssh://-oProxyCommand=id", "form ssh"),
        ("ssh://-l@host", "form ssh"),
        ("ssh://a host", "form ssh"),
        ("ssh://host:0", "form ssh"),
        ("ssh://host:65536", "form ssh"),
        ("ssh://host\n", "form ssh"),
        ("ssh://me:secret@host", "leave the password out"),
        ("ssh://host/srv/vm", "leave the path out"),
        ("ssh://fe80::1", "stands in brackets"),
    ],
)
def test_no_address(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SSHAddress.parse(text)


def test_other_endpoints_are_none() -> None:
    assert not is_ssh("host:10810")
    assert not is_ssh("/run/ssh://")
