"""``.. commands:: MODULE`` with names as content: the fields of these AMP commands, each with its type and bounds, made of the classes."""

from __future__ import annotations

import importlib
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from twisted.protocols import amp

from nbdtun.amp import Flag, Number, Rows, Text
from nbdtun.migration.control.commands import Outcome, SessionId, Settled
from nbdtun.migration.vm.hardware.wire import MAX_UNPACKED, HardwareArgument
from nbdtun.versions import Features


def shape(argument: amp.Argument) -> str:
    """The type of a field, and its bounds."""
    match argument:
        case Text():
            text = f"text, at most {argument.limit} characters"
        case Number():
            text = f"number, {argument.least} to {argument.limit}"
        case Features():
            text = "names of features"
        case Flag():
            text = "``True`` or ``False``"
        case SessionId():
            text = "text, 32 digits of ``0-9a-f``"
        case Settled():
            text = "one of " + ", ".join(f"``{outcome}``" for outcome in Outcome)
        case HardwareArgument():
            text = f"bytes: JSON, compressed by zlib, at most {MAX_UNPACKED} bytes before"
        case Rows():
            rows = "; ".join(f"``{name.decode()}`` {shape(each)}" for name, each in argument.subargs)
            text = f"at most {argument.limit} boxes, each with: {rows}"
        case amp.Unicode():
            text = "text"
        case _:
            text = "bytes"
    return f"{text}; may be left out" if argument.optional else text


class Commands(SphinxDirective):
    """A table for each command."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.arguments[0])
        return self.parse_text_to_nodes("\n".join(line for name in self.content for line in _lines(getattr(module, name))))


def _lines(command: Any) -> list[str]:
    about = (command.__doc__ or "").strip().partition("\n\n")[0].replace("\n    ", " ")
    rows = [(name, "question", each) for name, each in command.arguments]
    rows += [(name, "answer", each) for name, each in command.response]
    lines = [f"``{command.commandName.decode()}``", f"   {about}", ""]
    if not command.requiresAnswer:
        lines += ["   It is not answered.", ""]
    if rows:
        lines += ["   .. list-table::", "      :widths: 15 12 73", ""]
    for name, where, each in rows:
        lines += [f"      * - ``{name.decode()}``", f"        - {where}", f"        - {shape(each)}"]
    return [*lines, ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
