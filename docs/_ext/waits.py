"""``.. waits::`` is the table of a migration's waits, made of the one that the program declares."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from nbdtun.migration.waits import WAITS


class Waits(SphinxDirective):
    """One table: each wait, its limit, and what ends it earlier."""

    def run(self) -> list[nodes.Node]:
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 36 20 22 22", ""]
        lines += self._row("what is waited for", "in phase", "at most", "ended earlier by")
        for wait in WAITS:
            phases = ", ".join(phase.value for phase in wait.phases) or "-"
            lines += self._row(wait.what, phases, wait.limit, wait.ended_by)
        return self.parse_text_to_nodes("\n".join(lines))

    @staticmethod
    def _row(first: str, *others: str) -> list[str]:
        return [f"   * - {first}", *(f"     - {each}" for each in others)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("waits", Waits)
    return {"parallel_read_safe": True}
