"""
The options of :mod:`nbdtun.config.options` as options of twistd, and how their texts become settings.

Values are parsed in ``postOptions``, all at once, so an error can name its option. twistd would print the whole help before the error, and
end with 1: so an error ends the process here, in one line and with the status of wrong usage.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn

from twisted.python.usage import Options, UsageError

from nbdtun import __version__
from nbdtun.config.options import Option, spelled_out
from nbdtun.errors import ConfigError, NbdtunError

#: twistd's own default, in the current directory.
DEFAULT_PIDFILE = "twistd.pid"


class DeclaredOptions(Options):
    """Options declared like the command's; a subclass names its own, and makes its settings of them in :meth:`build`."""

    optFlags: ClassVar[list[list[str | None]]]
    optParameters: ClassVar[list[list[str | None]]]

    declared: ClassVar[tuple[Option, ...]]

    #: The plugin's name, with which error lines begin.
    plugin = ""
    settings: Any

    def __init_subclass__(cls, declared: tuple[Option, ...] = ()) -> None:
        """Declare them to twistd, in its three ways."""
        super().__init_subclass__()
        cls.declared = declared
        cls.optFlags = [[option.name, None, option.text] for option in declared if not option.metavar]
        single = [option for option in declared if option.metavar and not option.repeatable]
        cls.optParameters = [[option.name, None, option.default, option.text] for option in single]
        for option in declared:
            if option.repeatable:
                setattr(cls, f"opt_{option.key}", _collect(option))

    def __init__(self) -> None:
        self.collected: defaultdict[str, list[str]] = defaultdict(list)
        super().__init__()

    def opt_version(self) -> None:
        """Print nbdtun's version and exit."""
        print(f"nbdtun {__version__}")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the command line; a mistake in it ends the process."""
        try:
            self.read(options)
        except ConfigError as error:
            print(f"{self.plugin}: {error.line}", file=sys.stderr)
            raise SystemExit(2) from None

    def read(self, words: Sequence[str] | None) -> None:
        """
        Read the options, and make the settings of them.

        :raise ConfigError: they are not valid.
        """
        try:
            super().parseOptions(spelled_out(sys.argv[1:] if words is None else words, self.declared))
        except UsageError as error:
            raise ConfigError(str(error), f"`{self.plugin.replace('-', ' ')} --help` lists the options") from None

    def postOptions(self) -> None:
        """Make the settings; :exc:`ConfigError` if they are not valid."""
        self.settings = self.build()
        self._spare_pidfile()

    def _spare_pidfile(self) -> None:
        """In a container each daemon is process 1: after a kill, twistd would take its default pidfile for that of a running daemon."""
        twistd = self.parent
        if twistd is not None and twistd.get("nodaemon") and twistd.get("pidfile") == DEFAULT_PIDFILE:
            twistd["pidfile"] = ""

    def account(self) -> str:
        """The line that says what the daemon does, once it has started."""
        raise NotImplementedError

    def build(self) -> Any:
        """Make the settings of this daemon; :exc:`ConfigError` if the options do not fit."""
        raise NotImplementedError

    def has(self, option: Option) -> bool:
        """Whether it was given, or has a default."""
        return bool(self.collected[option.name] if option.repeatable else self[option.name])

    def value(self, option: Option) -> Any:
        """The value of an option: a tuple if it is repeatable, None if it was not given; its errors name it."""
        if not option.metavar:
            return bool(self[option.name])
        try:
            if option.repeatable:
                return tuple(option.read(text) for text in self.collected[option.name])
            return None if self[option.name] is None else option.read(self[option.name])
        except ConfigError as error:
            raise ConfigError(f"--{option.name}: {error}") from None

    def required(self, option: Option) -> Any:
        """The value of a required option."""
        if not self.has(option):
            raise ConfigError(f"--{option.name} is missing")
        return self.value(option)

    def given(self, *options: Option) -> dict[str, Any]:
        """The values of several options, as :mod:`nbdtun.config.build` takes them."""
        return {option.key: self.value(option) for option in options}


def _collect(option: Option) -> Callable[[DeclaredOptions, str], None]:
    """Make the method by which twistd has a repeatable option."""

    def collect(self: DeclaredOptions, text: str) -> None:
        self.collected[option.name].append(text)

    collect.__doc__ = option.text
    return collect


def give_up(plugin: str, error: NbdtunError) -> NoReturn:
    """
    End the process with one line, when valid options do not make a service: with status 2 for an unreadable key, for example.

    twistd would print a traceback.
    """
    print(f"{plugin}: {error.line}", file=sys.stderr)
    raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
