"""
`python docs/manuals.py DIRECTORY`: the manual pages, in DIRECTORY/man1, man5 and man7, and the shells' completions beside them.

A command's page is what its ``--help`` says; the other pages are pages of this documentation. docutils alone writes them: neither Sphinx
nor what nbdtun requires to run need be there, so an installation can make them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

import click  # noqa: E402
from click.shell_completion import ShellComplete, get_completion_class  # noqa: E402
from docutils import nodes  # noqa: E402
from docutils.core import publish_string  # noqa: E402
from docutils.parsers.rst import Directive, directives, roles  # noqa: E402
from options import ClickOptions, LiveOptions  # noqa: E402

from nbdtun import __version__  # noqa: E402
from nbdtun.cli import command  # noqa: E402

#: The pages that are not a command's: section, description, the page of this documentation, and the command whose options they list.
PAGES = {
    "nbdtun-dest.toml": (5, "configuration file of nbdtun dest", "config.rst", "dest"),
    "nbdtun-source.toml": (5, "configuration file of nbdtun source", "config.rst", "source"),
    "nbdtun-errors": (7, "codes of nbdtun's errors, and what to do", "errors.rst", ""),
    "twistd-nbdtun-dest": (1, "nbdtun dest as a plugin of twistd", "launchers.rst", "dest"),
    "twistd-nbdtun-source": (1, "nbdtun source as a plugin of twistd", "launchers.rst", "source"),
}
#: The shells, and where each looks for the completion of a command.
SHELLS = {"bash": "bash-completion/completions/nbdtun", "zsh": "zsh/site-functions/_nbdtun"}

_STATUS = re.compile(r"^\s*(?:Exit status:)?\s*(\d+)  (.+)")


def main(directory: Path) -> None:
    """Write all of it below ``directory``."""
    roles.register_generic_role("doc", nodes.strong)
    for name in ("ref", "mod"):
        roles.register_local_role(name, _reference)
    ours = {"list-table": Rows, "literalinclude": Source, "click-options": ClickOptions, "live-options": LiveOptions}
    for name, directive in ours.items():
        directives.register_directive(name, directive)
    settings = {"halt_level": 2, "syntax_highlight": "none"}  # which needs pygments
    for name, section, text in pages():
        page = directory / f"man/man{section}/{name}.{section}"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_bytes(publish_string(text, f"{DOCS}/{name}", writer_name="manpage", settings_overrides=settings))
    for shell, path in SHELLS.items():
        script = directory / path
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(completion(shell))


def pages() -> Iterator[tuple[str, int, str]]:
    """The name, the section and the text of each page."""
    others = [(f"nbdtun-{name}", 1) for name in command.commands] + [(name, page[0]) for name, page in PAGES.items()]
    yield "nbdtun", 1, "\n".join([*_head("nbdtun", 1, command.short_help or "migrate running VMs with their disks"), *_main(others)])
    for name, each in command.commands.items():
        about = (each.short_help or "").rstrip(".")
        yield (
            f"nbdtun-{name}",
            1,
            "\n".join([*_head(f"nbdtun-{name}", 1, about[:1].lower() + about[1:]), *_command(each, f"nbdtun {name}")]),
        )
    for name, (section, about, page, options) in PAGES.items():
        text = [*_head(name, section, about), *_section("DESCRIPTION", _body(page))]
        if section == 5:
            text += _section("KEYS", _options(command.commands[options], "nbdtun", key=True))
        elif options:
            text += _section("OPTIONS", _options(command.commands[options], "nbdtun", daemon=True))
        yield name, section, "\n".join([*text, *_also()])


def completion(shell: str) -> str:
    """The script by which a shell asks the command for its completions."""
    made: Any = get_completion_class(shell)
    asked: ShellComplete = made(command, {}, "nbdtun", "_NBDTUN_COMPLETE")
    return asked.source()


def _head(name: str, section: int, about: str) -> list[str]:
    line, below = "=" * len(name), "-" * len(about)
    return [line, name, line, below, about, below, f":Version: {__version__}", f":Manual section: {section}", ":Manual group: nbdtun", ""]


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return ["", title, "~" * len(title), "", *lines, ""]


def _main(others: list[tuple[str, int]]) -> Iterator[str]:
    yield from _section("SYNOPSIS", ["**nbdtun** *COMMAND* [*OPTION*]...", "", "**nbdtun** **--version**"])
    yield from _section("DESCRIPTION", _described(command.help or "")[0])
    lines = [line for name, each in command.commands.items() for line in (f"**{name}**", f"  {_text(each.short_help or '')}")]
    yield from _section("COMMANDS", lines)
    yield from _section("SEE ALSO", [", ".join(f"**{name}**\\ ({section})" for name, section in sorted(others))])


def _command(each: click.Command, words: str) -> Iterator[str]:
    """The sections of the page of a command."""
    texts, statuses = _described(each.help or "")
    yield from _section("SYNOPSIS", [_usage(each, words)])
    yield from _section("DESCRIPTION", texts)
    for name, below in each.commands.items() if isinstance(each, click.Group) else ():
        described, statuses = _described(below.help or "")
        yield from _section(name.upper(), [_usage(below, f"{words} {name}"), "", *described, "", *_options(below, name)])
    yield from _section("OPTIONS", _options(each, words))
    if statuses:
        yield from _section("EXIT STATUS", [line for number, text in statuses for line in (number, f"  {_text(text)}")])
    yield from _also()


def _usage(each: click.Command, words: str) -> str:
    pieces = each.collect_usage_pieces(_context(each, words))
    return " ".join([f"**{words}**", *(_text(piece) for piece in pieces)])


def _context(each: click.Command, words: str) -> click.Context:
    return click.Context(each, info_name=words, **command.context_settings)


def _described(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The paragraphs of a help text; and its exit statuses, whose block begins with a backspace."""
    paragraphs, statuses = [], []
    for part in re.split(r"\n\s*\n", text.partition("\f")[0]):
        if part.strip().startswith("\b"):
            statuses += [(found[1], found[2]) for line in part.splitlines() if (found := _STATUS.match(line))]
        else:
            paragraphs += [_text(" ".join(part.split())), ""]
    return paragraphs, statuses


def _body(page: str) -> list[str]:
    """A page of this documentation without its title."""
    title, line, *rest = (DOCS / page).read_text().splitlines()
    assert set(line) == {"="}, title
    return rest


def _options(each: click.Command, words: str, *, key: bool = False, daemon: bool = False) -> Iterator[str]:
    """Each option, and what it says of itself; as a ``key`` of a file, or those of a ``daemon`` in another launcher."""
    context = _context(each, words)
    for parameter in each.params if key or daemon else each.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or not record[1] or (key and parameter.name == "config"):
            continue
        yield f"**{_text(_key(record[0]) if key else record[0])}**"
        yield f"  {_text(' '.join(record[1].split()))}"


def _key(option: str) -> str:
    """``max-channels = COUNT``: an option as a file has it."""
    name, _, value = option.removeprefix("--").partition(" ")
    return f"{name} = {value or 'true'}"


def _also() -> list[str]:
    return _section("SEE ALSO", ["**nbdtun**\\ (1), **nbdtun-errors**\\ (7)"])


def _text(text: str) -> str:
    """Text of the program, in which a backquoted word is what one types."""
    parts = re.sub(r"([\\*_|<>\[\]])", r"\\\1", text).split("`")
    return "".join(f"\\ **{part}**\\ " if number % 2 else part for number, part in enumerate(parts))


def _reference(name: str, raw: str, text: str, line: int, inliner: Any, options: Any = None, content: Any = ()) -> Any:
    """A place elsewhere in this documentation, by its own words where it has some."""
    return [nodes.emphasis(raw, text.partition(" <")[0])], []


class Rows(Directive):
    """A table of text, as a list: a terminal has no room for three columns."""

    has_content = True
    option_spec: ClassVar = {"header-rows": directives.unchanged, "widths": directives.unchanged, "stub-columns": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        parsed = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, parsed)
        (rows,) = parsed.children
        listed = nodes.definition_list()
        for row in rows.children[int(self.options.get("header-rows", 0)) :]:  # type: ignore[attr-defined]
            first, *others = row.children[0].children
            term = nodes.term("", "", *first.children[0].children)
            listed += nodes.definition_list_item("", term, nodes.definition("", *(child for cell in others for child in cell.children)))
        return [listed]


class Source(Directive):
    """A file of ours, word for word."""

    required_arguments = 1
    option_spec: ClassVar = {"language": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        text = (DOCS / self.arguments[0]).read_text()
        return [nodes.literal_block(text, text)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
