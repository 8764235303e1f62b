"""Which certificates are admitted, and to what."""

from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509

from nbdtun.errors import ConfigError, NotAllowed
from nbdtun.tls.certificate import Kind
from nbdtun.tunnel.destination.allowlist import AllowList, Rights, Rule
from tests.tls.stage.certificates import certificate

SOURCE = certificate(
    "src1",
    alternative=(
        x509.DNSName("src1.hosts.example"),
        x509.RFC822Name("ops@example.org"),
        x509.UniformResourceIdentifier("spiffe://example/Migration"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
    ),
)


@pytest.mark.parametrize(
    "pattern",
    [
        "*.hosts.example",
        "SRC1.hosts.example",
        "src1.hosts.example.",
        "dns:src*.hosts.*",
        "email:*@example.org",
        "email:Ops@Example.org",
        "uri:spiffe://example/M*",
        "uri:spiffe://*/Migration",
        "ip:192.0.2.7",
        "ip:192.0.2.0/24",
    ],
)
def test_one_name_that_fits_is_enough(pattern: str) -> None:
    admitted = AllowList(("nobody", pattern)).check(SOURCE, "peer")
    assert len(admitted.names) == 1
    assert admitted.rights.include("anything")


@pytest.mark.parametrize(
    "pattern",
    [
        "cn:src1",  # there are alternative names
        "*.example",  # * stays within a label
        "hosts.example",
        "*",
        "dns:ops@example.org".replace("@", "."),
        "uri:src1.hosts.example",  # nor does a type stand for another
        "email:*",
        "uri:spiffe://*",
        "uri:spiffe://example/migration",
        "ip:192.0.3.0/24",
        "ip:2001:db8::/32",
    ],
)
def test_a_pattern_has_to_fit_a_whole_name_of_its_type(pattern: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        AllowList((pattern,)).check(SOURCE, "192.0.2.1:7")
    assert str(refused.value) == (
        "192.0.2.1:7: no --allow at the destination matches its certificate "
        "(dns:src1.hosts.example, email:ops@example.org, uri:spiffe://example/Migration, ip:192.0.2.7)"
    )


def test_a_uri_that_looks_like_a_host_is_none() -> None:
    """A name constraint on DNS names says nothing about URIs, nor one on those about common names."""
    tenant = certificate(
        "src1.tenant-b.example",
        alternative=(x509.DNSName("x.tenant-a.example"), x509.UniformResourceIdentifier("src1.tenant-b.example")),
    )
    for pattern in ("src1.tenant-b.example", "*.tenant-b.example", "cn:src1.tenant-b.example"):
        with pytest.raises(NotAllowed):
            AllowList((pattern,)).check(tenant, "peer")


def test_a_common_name_is_admitted_where_there_is_nothing_else() -> None:
    assert AllowList(("cn:nbdtun *",)).check(certificate("nbdtun client"), "peer").rights.everything
    with pytest.raises(NotAllowed):
        AllowList(("src1.hosts.example",)).check(certificate("src1.hosts.example"), "peer")


def test_rights_for_one_target_or_vm_add_up() -> None:
    allow = AllowList(("web1=dns:src1.*.example", "web2=uri:spiffe://example/*", "web3=other.example"))
    admitted = allow.check(SOURCE, "peer")
    assert [str(name) for name in admitted.names] == ["dns:src1.hosts.example", "uri:spiffe://example/Migration"]
    assert admitted.rights == Rights(everything=False, only=frozenset({"web1", "web2"}))
    assert admitted.rights.include("web1")
    assert not admitted.rights.include("web3")
    assert AllowList(("web1=*.hosts.example", "*.hosts.example")).check(SOURCE, "peer").rights.include("web3")


def test_without_patterns_all_are_admitted() -> None:
    assert len(AllowList().check(SOURCE, "peer").names) == 4
    assert AllowList().check(None, "peer").names == ()


@pytest.mark.parametrize("der", [None, b"", b"no certificate", certificate()])
def test_who_has_no_name_is_not_admitted_not_even_by_a_star(der: bytes | None) -> None:
    with pytest.raises(NotAllowed, match=r"^peer: no --allow at the destination matches its certificate \(no names\)$"):
        AllowList(("*", "cn:*")).check(der, "peer")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "an empty pattern matches no certificate"),
        ("  ", "an empty pattern matches no certificate"),
        ("src?", "'src\\?' is not a pattern for a DNS name; name its type"),
        ("spiffe://example/x", "'spiffe://example/x' is not a pattern for a DNS name"),
        ("ops@example", "'ops@example' is not a pattern for a DNS name"),
        ("ip:192.0.2.0/99", "'192.0.2.0/99' is not an IP address or a network"),
        ("ip:192.0.2.1/24", "'192.0.2.1/24' is not an IP address or a network: it has host bits set"),
    ],
)
def test_a_pattern_that_can_match_nothing_is_a_mistake(text: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        Rule.parse(text)


def test_a_rule_is_read_with_its_target_and_its_type() -> None:
    assert Rule.parse("web1=uri:https://a/?x=y") == Rule(Kind.URI, "https://a/?x=y", "web1")
    assert Rule.parse("uri:https://a/?x=y") == Rule(Kind.URI, "https://a/?x=y")
    assert Rule.parse("src*") == Rule(Kind.DNS, "src*")


def test_what_a_source_may_still_reach_by_its_names() -> None:
    allow = AllowList(("dns:src1", "web1=uri:spiffe://A/*"))
    assert allow.rights_of(["dns:src1", "sha256:00"]) == Rights(everything=True)
    assert allow.rights_of(["uri:spiffe://A/x"]) == Rights(everything=False, only=frozenset({"web1"}))
    assert allow.rights_of(["uri:spiffe://a/x", "cn:src1"]) == allow.rights_of([]) == Rights(everything=False)
    assert AllowList().rights_of(["sha256:00"]) == Rights()
