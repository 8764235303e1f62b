"""XML from a peer: what another parser might read in another way is refused."""

from __future__ import annotations

import pytest

from nbdtun.errors import NotMigratable
from nbdtun.libvirt.rpc.markup import MAX_DEPTH, MAX_ELEMENTS, parse


def test_a_tree() -> None:
    root = parse(" <domain type='kvm'><!-- a note --><name>w<![CDATA[eb]]>&#49;</name></domain>\n")
    assert (root.tag, root.attrib, root.findtext("name")) == ("domain", {"type": "kvm"}, "web1")


def test_a_namespace_is_seen() -> None:
    root = parse("<domain xmlns:qemu='http://qemu' qemu:a='1'><qemu:commandline/></domain>")
    assert [child.tag for child in root] == ["http://qemu}commandline"]
    assert list(root.attrib) == ["http://qemu}a"]
    assert parse("<domain xmlns='http://other'/>").tag == "http://other}domain"


def test_utf_8_may_be_said() -> None:
    assert parse("<?xml version='1.0' encoding='utf-8'?><domain/>").tag == "domain"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not begin as XML does"),
        ("domain", "does not begin as XML does"),
        ("<domain>", "malformed"),
        ("<domain/><domain/>", "malformed"),
        ("<domain>&who;</domain>", "malformed"),
        ("<domain a='1' a='2'/>", "malformed"),
        ("<qemu:domain/>", "malformed"),
        ("<domain>\0</domain>", "malformed"),
        ("<domain>\ud800</domain>", "not Unicode"),
        ("<?xml version='1.0' encoding='UTF-7'?><domain/>", "encoded as UTF-7; only UTF-8 passes"),
        ("<!DOCTYPE domain [<!ENTITY a 'b'>]><domain>&a;</domain>", "document type"),
        ("<!DOCTYPE domain SYSTEM 'file:///etc/passwd'><domain/>", "document type"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(NotMigratable, match=why):
        parse(text)


@pytest.mark.parametrize("text", ["<a>" * (MAX_DEPTH + 1), "<a>" + "<b/>" * MAX_ELEMENTS + "</a>"], ids=["deep", "many"])
def test_it_is_bounded(text: str) -> None:
    with pytest.raises(NotMigratable, match="more than 50000 elements, or more than 64 in each other"):
        parse(text)
