"""A whole command line, as the options of a QEMU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from attrs import evolve, frozen

from nbdtun.errors import ConfigError
from nbdtun.spawn.command.config import words
from nbdtun.spawn.command.options import FLAGS, JSON, KEYED, SYNONYMS, TEXTS
from nbdtun.spawn.command.params import Params

#: The option for a word without a dash.
DISK = "hda"
#: The keys that name an option among others of its kind.
_NAMES = ("id", "node-name", "name")


@frozen
class Option:
    """An option, by its ``name`` without dashes, and its ``value``; None for a flag."""

    name: str
    value: str | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the command line."""
        return (f"-{self.name}",) if self.value is None else (f"-{self.name}", self.value)

    @property
    def params(self) -> Params:
        """
        The value as keys and values.

        :raise ConfigError: it should be JSON and is not.
        """
        return Params.read(self.value or "", KEYED.get(self.name, ""), self.name in JSON)

    @property
    def id(self) -> str:
        """The name that it gives to what it makes; empty for none."""
        if self.name not in KEYED:
            return ""
        params = self.params
        return next((params.get(key) for key in _NAMES[: 2 if self.name != "name" else 3] if key in params), "")

    @property
    def where(self) -> str:
        """The option as messages name it."""
        name = self.id or (self.params.get(self.params.first) if self.name in KEYED and self.params.first else "")
        return f"-{self.name} {name}" if name else f"-{self.name}"

    def with_(self, params: Params) -> Option:
        """The same with other keys and values."""
        return evolve(self, value=str(params))


def parse(arguments: Sequence[str], read: Callable[[str], str] | None = None) -> tuple[Option, ...]:
    """
    Parse the words behind the program's own; ``read`` returns the text of a ``-readconfig`` file, whose options take its place.

    ``-set`` is carried out, and gone.

    :raise ConfigError: an option is unknown, or lacks its value.
    """
    found: list[Option] = []
    for option in _options(arguments):
        if option.name == "readconfig" and read is not None:
            path = option.value or ""
            found += [Option(name, value) for name, value in words(read(path), path)]
        elif option.name == "set":
            found = list(changed(found, option.value or "", "-set"))
        else:
            found.append(option)
    return tuple(found)


def _options(arguments: Sequence[str]) -> Iterator[Option]:
    words = iter(arguments)
    for word in words:
        if not word.startswith("-") or word == "-":
            yield Option(DISK, word)
            continue
        given = word[2:] if word.startswith("--") else word[1:]
        name = SYNONYMS.get(given, given)
        if name in FLAGS:
            yield Option(name)
        elif name in KEYED or name in TEXTS:
            value = next(words, None)
            if value is None:
                raise ConfigError(f"{word} has no value in QEMU's command line")
            yield Option(name, value)
        else:
            raise ConfigError(f"QEMU's option {word} is not known to nbdtun", "start the destination by hand")


def changed(options: Iterable[Option], setting: str, what: str) -> tuple[Option, ...]:
    """
    The options with ``GROUP.ID.KEY=VALUE``, or ``GROUP.KEY=VALUE`` for one without an id; ``what`` is the option that says so.

    :raise ConfigError: it does not have that form, or there is no such option.
    """
    target, equals, value = setting.partition("=")
    group, _, rest = target.partition(".")
    if not equals or not rest:
        raise ConfigError(f"{what} {target}: it does not have the form GROUP.ID.KEY=VALUE")
    every = list(options)
    for number, option in reversed(list(enumerate(every))):
        key = _key_within(option, group, rest)
        if key:
            every[number] = option.with_(option.params.set(key, value))
            return tuple(every)
    raise ConfigError(f"{what} {target}: QEMU's command line has no such -{group}")


def _key_within(option: Option, group: str, rest: str) -> str:
    """The key that ``rest`` names in ``option``; empty if it is not meant."""
    if option.name != group or option.name not in KEYED:
        return ""
    if option.id and rest.startswith(f"{option.id}."):
        return rest[len(option.id) + 1 :]
    return rest if not option.id else ""
