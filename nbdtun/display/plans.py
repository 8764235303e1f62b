"""A plan for people: what would be made, what must be there, and the command line."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from nbdtun.errors import printable
from nbdtun.spawn.command.hidden import hidden
from nbdtun.spawn.values import COMPARED, MADE, Image, Plan
from nbdtun.units import size_text

#: The options of QEMU stand on lines of their own, so far in.
_INDENT = "    "


def plan_lines(plan: Plan, emulator: str, directories: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a plan; ``emulator`` is the program at the far end, ``directories`` are those that would be made."""
    yield from (f"make   directory {printable(path)}" for path in directories)
    yield from map(_image, plan.images)
    for path in plan.paths:
        if path.role in MADE:
            yield f"make   {path.role.value} {printable(path.path)}"
    for path in plan.paths:
        if path.role not in MADE:
            like = ", the same as here" if path.role in COMPARED else ""
            yield f"need   {path.role.value} {printable(path.path)}{like}"
    yield from (f"need   {each.kind.value} {printable(each.name)}" for each in plan.interfaces)
    yield from (f"need   port {port.port}{'/udp' if port.udp else ''}" for port in plan.ports)
    yield f"start  as {printable(plan.user)}" + (f", in nbdtun-{plan.vm}.service:" if plan.unit else ":")
    yield from command_lines(emulator, hidden(plan.arguments))


def _image(image: Image) -> str:
    options = "".join(f", {name}={value}" for name, value in image.options.items())
    backing = f", backed by {image.backing}" if image.backing else ""
    verb = "write " if image.device else "make  "
    return f"{verb} " + printable(f"{image.format} image {image.path} for {image.node}: {size_text(image.size)}{options}{backing}")


def command_lines(emulator: str, arguments: Iterable[str]) -> Iterator[str]:
    """A command line as a shell takes it, an option a line."""
    line, lines = shlex.quote(emulator), []
    for word in arguments:
        if word.startswith("-"):
            lines.append(line)
            line = f"{_INDENT}{shlex.quote(word)}"
        else:
            line += f" {shlex.quote(word)}"
    return iter([f"{each} \\" for each in lines] + [line])
