"""
The options of :mod:`nbdtun.config.options` as options of twistd, and how their texts become settings.

Values are parsed in ``postOptions``, all at once. So an error can name its option, and every error is a ``UsageError``, which twistd prints
as a line and not as a traceback.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from twisted.python.usage import Options, UsageError

from nbdtun import __version__
from nbdtun.config.options import BANDWIDTH, SOCKETS, TERMS, TRUST, Option
from nbdtun.errors import ConfigError, NbdtunError


class DeclaredOptions(Options):
    """Options declared like the command's; a subclass names its own, and makes its settings of them in :meth:`build`."""

    optFlags: ClassVar[list[list[str | None]]]
    optParameters: ClassVar[list[list[str | None]]]

    settings: Any

    def __init_subclass__(cls, declared: tuple[Option, ...] = ()) -> None:
        """Declare them to twistd, in its three ways."""
        super().__init_subclass__()
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

    def postOptions(self) -> None:
        """Make the settings; :exc:`UsageError` with one line if they are not valid."""
        try:
            self.settings = self.build()
        except ConfigError as error:
            raise UsageError(error.line) from None

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


#: The options of both daemons.
TUNNEL = (*TRUST, *SOCKETS, *TERMS, BANDWIDTH)


def give_up(plugin: str, error: NbdtunError) -> NoReturn:
    """
    End the process with one line and status 1, when valid options do not make a service: with an unreadable key, for example.

    twistd catches a ``UsageError`` while it parses options, but not while it makes the service.
    """
    raise SystemExit(f"{plugin}: {error.line}") from None
