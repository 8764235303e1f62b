"""
The options of :mod:`nbdtun.config.options` as options of twistd and in a configuration file, and how their texts become settings.

An option of the command line takes the place of that in the file. Values are parsed in ``postOptions``, all at once, so an error can name
its option. twistd would print the whole help before the error, and end with 1: so an error ends the process here, in one line and with the
status of wrong usage.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, Final, NoReturn, Self

from twisted.python.usage import Options, UsageError

from nbdtun import __version__
from nbdtun.config.file import NO_FILE, USUAL, ConfigFile
from nbdtun.config.option import Option, spelled_out
from nbdtun.config.options import CONFIG, LOG_FORMAT, LOG_LEVEL, PROCESS, TLS_DIR
from nbdtun.errors import ConfigError, NbdtunError
from nbdtun.ownership.given import is_there

#: twistd's own default, in the current directory.
DEFAULT_PIDFILE: Final = "twistd.pid"


class DeclaredOptions(Options):
    """Options declared like the command's; a subclass names its own, and makes its settings of them in :meth:`build`."""

    declared: ClassVar[tuple[Option, ...]]

    #: The plugin's name, with which error lines begin.
    plugin = ""
    settings: Any
    #: The file in force; without a path if there is none.
    file = ConfigFile()
    _words: Sequence[str] = ()

    def __init_subclass__(cls, declared: tuple[Option, ...] = ()) -> None:
        """Declare them to twistd, as methods: so an option that is given can be told from one with its default value."""
        super().__init_subclass__()
        cls.declared = (*declared, *PROCESS)
        for option in cls.declared:
            setattr(cls, f"opt_{option.key}", _collect(option))

    def __init__(self) -> None:
        self.collected: defaultdict[str, list[str]] = defaultdict(list)
        self._values: dict[Option, Any] = {}
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
        self._words = sys.argv[1:] if words is None else list(words)
        try:
            super().parseOptions(spelled_out(self._words, self.declared))
        except UsageError as error:
            raise ConfigError(str(error), self._meant(str(error))) from None

    def _meant(self, mistake: str) -> str:
        """The option that may have been meant, or where they are listed."""
        unknown = re.fullmatch(r"option --([\w-]+) not recognized", mistake)
        near = get_close_matches(unknown[1], [option.name for option in self.declared], 1) if unknown else []
        return f"did you mean --{near[0]}?" if near else f"`{self.plugin.replace('-', ' ')} --help` lists the options"

    def postOptions(self) -> None:
        """Make the settings; :exc:`ConfigError` if they are not valid."""
        for option in (LOG_FORMAT, LOG_LEVEL):
            if self.parent is not None and self.collected[option.name]:
                raise ConfigError(f"--{option.name} is for `{self.plugin.replace('-', ' ')}`", "twistd has --logger and --logfile")
        self.file = self._read_file()
        self.settings = self.build()
        self._spare_pidfile()

    def again(self) -> Self:
        """
        Read the same command line again, and the file as it is now.

        :raise ConfigError: they are not valid.
        """
        newer = type(self)()
        newer.read(self._words)
        return newer

    def changed(self, newer: Self) -> dict[str, bool]:
        """The names of the options that have other values in ``newer``, and whether a running daemon takes each."""
        values = [(option, self.value(option), newer.value(option)) for option in self.declared]
        both = [option for option, old, new in values if option is not TLS_DIR or None not in (old, new)]  # TLS does not come or go
        return {option.name: option.live and option in both for option, old, new in values if old != new}

    def merged(self, newer: Self, taken: Collection[str]) -> Self:
        """
        These options, with the values of ``newer`` for those that are ``taken``.

        :raise ConfigError: they do not fit together.
        """
        made = type(self)()
        made._words, made.file = self._words, newer.file
        made._values = {option: (newer if option.name in taken else self).value(option) for option in self.declared}
        made.settings = made.build()
        return made

    def _read_file(self) -> ConfigFile:
        """The file of ``--config``, or the usual one if it is there."""
        path = self.value(CONFIG) or self.usual_file
        if path == NO_FILE or not (self.value(CONFIG) or is_there(path)):
            return ConfigFile()
        return ConfigFile.read(path, [option for option in self.declared if option is not CONFIG])

    @property
    def usual_file(self) -> str:
        """Where it is looked for without ``--config``."""
        return str(USUAL / f"{self.plugin.rpartition('-')[2]}.toml")

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

    def look(self) -> None:
        """Read the files that the settings name, as the daemon will: :exc:`ConfigError` if they cannot be used."""
        raise NotImplementedError

    def has(self, option: Option) -> bool:
        """Whether it was given, or has a default."""
        return self.value(option) not in (None, (), False) if self._values else bool(self._texts(option))

    def value(self, option: Option) -> Any:
        """The value of an option: a tuple if it is repeatable, None if it was not given; its errors name it, and its file."""
        if self._values:
            return self._values[option]
        texts = self._texts(option)
        if not option.metavar:
            return bool(texts)
        try:
            if option.repeatable:
                return tuple(option.read(text) for text in texts)
            return option.read(texts[-1]) if texts else None
        except ConfigError as error:
            whose = f"--{option.name}" if self.collected[option.name] else f"{self.file.path}: {option.name}"
            raise ConfigError(f"{whose}: {error}") from None

    def _texts(self, option: Option) -> Sequence[str]:
        """What it was given as, in the first of these that has it: the command line, the file, its default."""
        return self.collected[option.name] or self.file.texts.get(option.name) or ([] if option.default is None else [option.default])

    def required(self, option: Option) -> Any:
        """The value of a required option."""
        if not self.has(option):
            raise ConfigError(f"--{option.name} is missing")
        return self.value(option)

    def given(self, *options: Option) -> dict[str, Any]:
        """The values of several options, as :mod:`nbdtun.config.build` takes them."""
        return {option.key: self.value(option) for option in options}


def _collect(option: Option) -> Callable[..., None]:
    """Make the method by which twistd has an option."""

    def flag(self: DeclaredOptions) -> None:
        self.collected[option.name].append(option.alone)

    def collect(self: DeclaredOptions, text: str) -> None:
        self.collected[option.name].append(text)

    made = collect if option.metavar else flag
    made.__doc__ = option.described
    return made


def give_up(plugin: str, error: NbdtunError) -> NoReturn:
    """
    End the process with one line, when valid options do not make a service: with status 2 for an unreadable key, for example.

    twistd would print a traceback.
    """
    print(f"{plugin}: {error.line}", file=sys.stderr)
    raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
