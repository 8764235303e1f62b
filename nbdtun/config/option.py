"""
An option, as the command, the daemons, their configuration files and the endpoint strings have it; they are in :mod:`.options`.

A parser is named and not imported: ``--help`` needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from operator import attrgetter
from typing import Any, NamedTuple


class Option(NamedTuple):
    """One option, the same for the command, the daemons and the endpoint strings."""

    name: str
    help: str
    #: Placeholder for the value in a list of options; empty for a flag.
    metavar: str = ""
    #: The parser, as ``module:function``; it raises ConfigError. Empty: the text is the value.
    parse: str = ""
    #: The default value, as a user would type it.
    default: str | None = None
    #: The default in words, where there is no such value.
    unset: str = ""
    repeatable: bool = False
    #: The value that the option stands for where it is given alone; empty: it cannot be.
    alone: str = ""
    #: Whether a running daemon takes a new value, without touching what is under way.
    live: bool = False

    @property
    def key(self) -> str:
        """Its name as a keyword argument."""
        return self.name.replace("-", "_")

    @property
    def text(self) -> str:
        """Its text in a list of options; the command or the daemon appends the default value."""
        return " ".join([self.help, *["Repeatable."] * self.repeatable, *[f"[default: {self.unset}]"] * bool(self.unset)])

    @property
    def described(self) -> str:
        """The same, with the default value."""
        return self.text + (f" [default: {self.default}]" if self.default is not None else "")

    def read(self, text: str) -> Any:
        """
        Parse the value.

        :raise ConfigError: it is not valid.
        """
        return parser(self.parse)(text) if self.parse else text


def parser(where: str) -> Callable[[str], Any]:
    """Import the parser that ``module:function`` names."""
    module, _, function = where.partition(":")
    found: Callable[[str], Any] = attrgetter(function)(import_module(module))
    return found


def spelled_out(words: Sequence[str], declared: Iterable[Option]) -> list[str]:
    """
    The words of a command line in which every option has its value that can be given alone.

    Such a value is a URI, which no name or other argument looks like, so one that follows the option is its value.
    """
    alone = {f"--{option.name}": f"--{option.name}={option.alone}" for option in declared if option.alone}
    last = list(words).index("--") if "--" in words else len(words)
    followed = [*("://" in word and not word.startswith("-") for word in words[1:]), False]
    return [alone.get(word, word) if at < last and not followed[at] else word for at, word in enumerate(words)]
