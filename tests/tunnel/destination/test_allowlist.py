"""Which certificates are admitted."""

from __future__ import annotations

import pytest
from cryptography import x509

from nbdtun.errors import ConfigError, NotAllowed
from nbdtun.tunnel.destination.allowlist import AllowList, check_pattern
from tests.tls.stage.certificates import certificate

SOURCE = certificate(
    "src1",
    alternative=(
        x509.DNSName("src1.hosts.example"),
        x509.RFC822Name("ops@example"),
        x509.UniformResourceIdentifier("spiffe://example/Migration"),
    ),
)


@pytest.mark.parametrize(
    "pattern",
    ["src1", "SRC1", "src?", "src[0-9]", "*.hosts.example", "src1.*", "Ops@Example", "spiffe://example/M*", "*"],
)
def test_one_name_that_fits_is_enough(pattern: str) -> None:
    AllowList(("nobody", pattern)).check(SOURCE, "peer")


@pytest.mark.parametrize(
    "pattern", ["src", "rc1", "src1?", "*.other.example", "hosts.example", "spiffe://example/migration", "CN=src1", ""]
)
def test_a_pattern_has_to_fit_a_whole_name(pattern: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        AllowList((pattern,)).check(SOURCE, "192.0.2.1:7")
    assert str(refused.value) == (
        "192.0.2.1:7: no --allow at the destination matches its certificate "
        "(CN src1, DNS src1.hosts.example, email ops@example, URI spiffe://example/Migration)"
    )


def test_without_patterns_all_are_admitted() -> None:
    AllowList().check(SOURCE, "peer")
    AllowList().check(None, "peer")


@pytest.mark.parametrize("der", [None, b"", b"no certificate", certificate()])
def test_who_has_no_name_is_not_admitted_not_even_by_a_star(der: bytes | None) -> None:
    with pytest.raises(NotAllowed, match=r"^peer: no --allow at the destination matches its certificate \(no names\)$"):
        AllowList(("*",)).check(der, "peer")


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_pattern_is_a_mistake(text: str) -> None:
    with pytest.raises(ConfigError, match="an empty pattern"):
        check_pattern(text)
    assert check_pattern("src*") == "src*"
