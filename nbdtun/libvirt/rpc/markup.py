"""
XML from a peer: read as libvirt's libxml2 reads it, or not at all. Rules only: no socket, no clock.

Two parsers must not see two documents. So a document type, with which entities come, another encoding and whatever only one of the two
forgives are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from nbdtun.errors import NotMigratable

#: Bounds of what is kept: libvirt's texts have up to 4 MiB, in which a million elements have room. A large domain has some thousand.
MAX_ELEMENTS: Final = 50_000
MAX_DEPTH: Final = 64


class _Reading:
    """Builds a tree, and counts what it builds."""

    def __init__(self) -> None:
        self._builder = TreeBuilder()
        self._elements = self._depth = 0
        parser = expat.ParserCreate("UTF-8", "}")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._builder.data
        parser.XmlDeclHandler = self._declared
        parser.StartDoctypeDeclHandler = self._doctype
        self._parser = parser

    def whole(self, data: bytes) -> Element:
        self._parser.Parse(data, True)
        return self._builder.close()

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._elements += 1
        self._depth += 1
        if self._elements > MAX_ELEMENTS or self._depth > MAX_DEPTH:
            raise NotMigratable(f"libvirt's XML has more than {MAX_ELEMENTS} elements, or more than {MAX_DEPTH} in each other")
        self._builder.start(name, dict(attributes))

    def _end(self, name: str) -> None:
        self._depth -= 1
        self._builder.end(name)

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.upper() != "UTF-8":
            raise NotMigratable(f"libvirt's XML says that it is encoded as {encoding}; only UTF-8 passes")

    def _doctype(self, *_: object) -> NoReturn:
        raise NotMigratable("libvirt's XML has a document type, which no XML of libvirt's has")


def parse(text: str) -> Element:
    """
    Return the root element. The name of one in a namespace begins with the namespace and ``}``.

    :raise NotMigratable: it is not XML, or none that libvirt writes.
    """
    if not text.lstrip(" \t\r\n").startswith("<"):
        raise NotMigratable("libvirt's XML does not begin as XML does")
    reading = _Reading()
    try:
        return reading.whole(text.encode())
    except expat.ExpatError as error:
        raise NotMigratable(f"libvirt's XML is malformed: {error}") from None
    except UnicodeEncodeError:
        raise NotMigratable("libvirt's XML is not Unicode") from None
