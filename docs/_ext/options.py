"""
Option lists that are made of the programs themselves, so that they cannot say anything else.

It needs docutils alone: the manuals are made without Sphinx.

``.. click-options:: migrate`` lists the options of a subcommand of ``nbdtun``, ``config check`` those of one below it.
``.. live-options:: dest`` lists the options whose new values that daemon takes while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from docutils import nodes
from docutils.parsers.rst import Directive

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def click_options(name: str) -> Iterator[tuple[str, str]]:
    """Each option of a subcommand, and what it says of itself."""
    from nbdtun.cli import command

    subcommand: click.Command = command
    for word in name.split():
        assert isinstance(subcommand, click.Group)
        subcommand = subcommand.commands[word]
    context = click.Context(subcommand, info_name=name)
    for parameter in subcommand.params:
        if record := parameter.get_help_record(context):
            yield record[0], " ".join(record[1].split())


class _Options(Directive):
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        listed = nodes.definition_list()
        for option, text in self.options_of(self.arguments[0]):
            term = nodes.term("", "", nodes.literal(option, option))
            listed += nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph("", text)))
        return [listed]


class ClickOptions(_Options):
    """The options of a subcommand."""

    options_of = staticmethod(click_options)


class LiveOptions(Directive):
    """The options that a running daemon takes."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        from nbdtun.config.options import DESTINATION, PROCESS, SOURCE

        declared = {"dest": DESTINATION, "source": SOURCE}[self.arguments[0]]
        text = nodes.paragraph()
        for option in (*declared, *PROCESS):
            if option.live:
                text += [nodes.Text(", " if text.children else ""), nodes.literal(option.name, option.name)]
        return [text]


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("click-options", ClickOptions)
    app.add_directive("live-options", LiveOptions)
    return {"parallel_read_safe": True}
