"""
Option lists that are made of the programs themselves, so that they cannot say anything else.

``.. twistd-options:: nbdtun.daemon.dest_tap`` lists the options of a twistd plugin, ``.. click-options:: migrate`` those of a subcommand of
``nbdtun``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import click
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

TWISTDS_OWN = ("help", "version")


def twistd_options(module: str) -> Iterator[tuple[str, str]]:
    """Each option of a plugin, and what it says of itself."""
    options = importlib.import_module(module).Options()
    for long in sorted(options.longOpt):
        name = long.rstrip("=")
        if name in TWISTDS_OWN:
            continue
        text = " ".join((options.docs.get(name) or "").split())
        default = options.defaults.get(name) if long.endswith("=") else None
        yield f"--{long}", text + (f" [default: {default}]" if default else "")


def click_options(name: str) -> Iterator[tuple[str, str]]:
    """Each option of a subcommand, and what it says of itself."""
    from nbdtun.cli import command

    subcommand = command.commands[name]
    context = click.Context(subcommand, info_name=name)
    for parameter in subcommand.params:
        if record := parameter.get_help_record(context):
            yield record[0], " ".join(record[1].split())


class _Options(Directive):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        listed = nodes.definition_list()
        for option, text in self.options_of(self.arguments[0]):
            term = nodes.term("", "", nodes.literal(option, option))
            listed += nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph("", text)))
        return [listed]


class TwistdOptions(_Options):
    """The options of a twistd plugin."""

    options_of = staticmethod(twistd_options)


class ClickOptions(_Options):
    """The options of a subcommand."""

    options_of = staticmethod(click_options)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("twistd-options", TwistdOptions)
    app.add_directive("click-options", ClickOptions)
    return {"parallel_read_safe": True}
