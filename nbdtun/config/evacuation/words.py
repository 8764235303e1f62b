"""
Options as words of a command line, which one process writes for another: ``--tls-dir DIR --settle 2s``.

They are those of a migration that are the same for many VMs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from nbdtun.config.option import Option
from nbdtun.config.options import (
    BANDWIDTH,
    DOMAIN,
    FAR,
    FAR_QMP,
    HOLD,
    KEEP_SOURCE,
    MAKING,
    MIGRATION,
    SOCKETS,
    SWITCHOVER,
    TERMS,
    TLS_NAME,
    TRUST,
    WINDOW,
)
from nbdtun.errors import ConfigError

#: Those that each VM has for itself, or that mean something else for many.
_OWN: Final = (FAR_QMP, BANDWIDTH, WINDOW, HOLD, SWITCHOVER, *DOMAIN)

#: The options of ``nbdtun migrate`` that many VMs share.
SHARED: Final = tuple(
    option for option in (*FAR, *MAKING, *TRUST, TLS_NAME, *MIGRATION, KEEP_SOURCE, *SOCKETS, *TERMS) if option not in _OWN
)


def words_of(given: Mapping[str, Any], declared: Iterable[Option] = SHARED) -> tuple[str, ...]:
    """The words for the values of ``given``, which are texts as an operator writes them; those that stand for nothing are left out."""
    return tuple(word for option in declared for word in _words(option, given.get(option.key)))


def _words(option: Option, value: Any) -> Iterator[str]:
    if not option.metavar:
        yield from [f"--{option.name}"] if value else []
    elif option.repeatable:
        yield from (word for each in value or () for word in (f"--{option.name}", each))
    elif value is not None and value != option.default:
        yield from (f"--{option.name}", value)


def given_by(words: Sequence[str], declared: Iterable[Option] = SHARED) -> dict[str, Any]:
    """
    The values of the options, as :mod:`nbdtun.config.build` takes them.

    :raise ConfigError: a word is no such option, or its value is not valid.
    """
    known = {f"--{option.name}": option for option in declared}
    given = {option.key: _standing(option) for option in (*_OWN, *known.values())}
    rest = list(words)
    while rest:
        option = known.get(rest.pop(0))
        if option is None or (option.metavar and not rest):
            raise ConfigError(f"{' '.join(words)!r} are not options of `nbdtun migrate`, each a word and its value another one")
        value = option.read(rest.pop(0)) if option.metavar else True
        given[option.key] = (*given[option.key], value) if option.repeatable else value
    return given


def _standing(option: Option) -> Any:
    if not option.metavar:
        return False
    if option.repeatable:
        return ()
    return None if option.default is None else option.read(option.default)
