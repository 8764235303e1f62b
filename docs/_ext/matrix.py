"""
``.. matrix::`` is the table of faults and phases, made of what the tests expect, so that it cannot say anything else; ``.. matrix::
libvirt`` is that of libvirt's VMs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.integration.libvirt_matrix import expectations as of_libvirt
from tests.integration.matrix import expectations as of_qemu
from tests.integration.matrix.expectations import Cell, Never, Outcome, Row


def word(cell: Cell) -> str:
    """A cell in a word or two; the page explains them."""
    if isinstance(cell, Never):
        return "-"
    marks = [f"{cell.status}" if cell.status >= 0 else "", "fresh" if cell.fresh else "", "later" if cell.later else "", cell.hand]
    return ", ".join([cell.end.value, *filter(None, marks)])


def messages(row: Row) -> str:
    """What the last line has, of all the row's cells."""
    said = dict.fromkeys(cell.says for cell in row.cells if isinstance(cell, Outcome) and cell.says)
    why = dict.fromkeys(cell.why for cell in row.cells if isinstance(cell, Never))
    return " ".join([*(f'"{text}".' for text in said), *(f"-: {text}." for text in why)])


class Matrix(SphinxDirective):
    """Two tables: where the VM is, and what is said."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        expected: Any = of_libvirt if self.arguments else of_qemu
        table: Mapping[str, Row] = expected.TABLE
        head = ["fault", *expected.PHASES]
        ends = [[row.title, *map(word, row.cells)] for row in table.values()]
        said = [[row.title, messages(row)] for row in table.values() if messages(row)]
        return [*self._table(head, ends), *self._table(["fault", "what the message has"], said)]

    def _table(self, head: list[str], rows: list[list[str]]) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(_list_table([head, *rows])))


def _list_table(rows: list[list[str]]) -> Iterator[str]:
    yield from (".. list-table::", "   :header-rows: 1", "   :stub-columns: 1", "")
    for row in rows:
        yield from (f"   {'*' if number == 0 else ' '} - {text}" for number, text in enumerate(row))


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("matrix", Matrix)
    return {"parallel_read_safe": True}
