"""``.. checks::`` and ``.. findings::`` are the tables of the checks and of their findings, made of the catalogue that the checks use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from nbdtun.libvirt import findings as _of_libvirt
from nbdtun.migration.catalogue import Kind, kinds
from nbdtun.migration.finding import Check

assert _of_libvirt  # its declarations are in the catalogue once it is imported


def checks() -> Iterator[tuple[str, ...]]:
    """Each check, and what it is about."""
    yield "name", "what"
    yield from ((f"``{check}``", check.about) for check in Check)


def findings() -> Iterator[tuple[str, ...]]:
    """Each kind of finding."""
    yield "check", "level", "finding", "remedy", "code", "overridden by"
    yield from map(_row, kinds())


def _row(kind: Kind) -> tuple[str, ...]:
    codes = ", ".join(f"``{code}``" for code in dict.fromkeys(error.code for error in kind.errors))
    override = f"``{kind.override}``" if kind.override else ""
    return f"``{kind.check}``", kind.level.value, kind.found, _quoted(kind.remedy), codes, override


def _quoted(text: str) -> str:
    """A message's own quotation marks, as literals; its options too."""
    parts = text.split("`")
    return "".join(f"``{part}``" if number % 2 else part.replace("--", "\\-\\-") for number, part in enumerate(parts))


class _Table(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(_list_table(list(self.rows()))))


class Checks(_Table):
    """The checks."""

    rows = staticmethod(checks)


class Findings(_Table):
    """The findings."""

    rows = staticmethod(findings)


def _list_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from (".. list-table::", "   :header-rows: 1", "   :stub-columns: 1", "")
    for row in rows:
        yield from (f"   {'*' if number == 0 else ' '} - {text}" for number, text in enumerate(row))


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("checks", Checks)
    app.add_directive("findings", Findings)
    return {"parallel_read_safe": True}
