"""``.. states:: nbdtun.tunnel.channels.life`` is the table of states that this module declares, made of the table itself."""

from __future__ import annotations

import importlib

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class States(SphinxDirective):
    """One table: each state, and what can happen in it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        transitions = importlib.import_module(self.arguments[0]).TRANSITIONS
        lines = [".. list-table::", "   :stub-columns: 1", ""]
        for state, moves in transitions.lines():
            lines += [f"   * - {state}", f"     - {moves}"]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("states", States)
    return {"parallel_read_safe": True}
