from __future__ import annotations

import ipaddress

import pytest

from nbdtun.reach.addresses import own_addresses


@pytest.mark.parametrize(
    ("connection", "first"),
    [
        ("192.0.2.1 40000 192.0.2.7 22", "192.0.2.7"),
        ("2001:db8::1 40000 2001:db8::7 22", "2001:db8::7"),
        ("::ffff:192.0.2.1 40000 ::ffff:192.0.2.7 22", "192.0.2.7"),
        ("127.0.0.1 40000 127.0.0.1 22", "127.0.0.1"),
    ],
)
def test_the_one_that_sshd_was_reached_at_comes_first(connection: str, first: str) -> None:
    assert own_addresses({"SSH_CONNECTION": connection})[0] == first


@pytest.mark.parametrize("connection", ["", "nonsense", "a b c d", "1 2 3"])
def test_without_it_the_interfaces_have_some(connection: str) -> None:
    found = [ipaddress.ip_address(address) for address in own_addresses({"SSH_CONNECTION": connection})]
    assert len(found) == len(set(found))
    assert not [address for address in found if address.is_loopback or address.is_link_local]
