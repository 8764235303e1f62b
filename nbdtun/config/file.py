"""
Configuration files: the options of a daemon by their names, in TOML.

A value is the text that the command line would have, in the same form, and the same code reads it. A number and a truth value may also be
written as such, and an option that is repeatable has a list.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from nbdtun.config.option import Option
from nbdtun.errors import ConfigError
from nbdtun.ownership.given import reason

#: Where the daemons look for a file without ``--config``.
USUAL: Final = Path("/etc/nbdtun")
#: The ``--config`` that means no file.
NO_FILE: Final = "none"


@frozen
class ConfigFile:
    """The file at ``path``, and the texts of its options; a flag that is set has one, which is empty."""

    path: str = ""
    texts: Mapping[str, tuple[str, ...]] = field(factory=dict)

    def __bool__(self) -> bool:
        return bool(self.path)

    @classmethod
    def read(cls, path: str, declared: Iterable[Option]) -> ConfigFile:
        """
        Read the file. The values are not parsed yet.

        :raise ConfigError: it cannot be read, others can write to it, or it has a key that is none of the ``declared`` options.
        """
        known = {option.name: option for option in declared}
        return cls(path, {key: tuple(_texts(path, key, value, known)) for key, value in _table(path).items()})


def _table(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            _refuse_strangers(path, os.fstat(file.fileno()))
            return tomllib.load(file)
    except OSError as failure:
        remedy = "let this user read it, or give --config none" if isinstance(failure, PermissionError) else ""
        raise ConfigError(f"{path}: {failure.strerror}", remedy) from failure
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} cannot be read: {reason(error)}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _refuse_strangers(path: str, found: os.stat_result) -> None:
    """What it says is done with the rights of this process, so whoever may write to it has these."""
    trouble = ""
    if found.st_uid not in (0, os.geteuid()):
        trouble = f"it belongs to user {found.st_uid}"
    elif found.st_mode & stat.S_IWOTH:
        trouble = "everybody can write to it"
    elif found.st_mode & stat.S_IWGRP and found.st_gid != 0:
        trouble = f"group {found.st_gid} can write to it"
    if trouble:
        raise ConfigError(f"{path}: {trouble}", "it must be root's, or of the user that runs nbdtun, and writable for nobody else")


def _texts(path: str, key: str, value: object, known: Mapping[str, Option]) -> list[str]:
    """The texts of one option."""
    option = known.get(key)
    if option is None:
        near = get_close_matches(key.lower().replace("_", "-"), known, 1, 0.6)
        raise ConfigError(f"{path}: there is no option {key}", f"did you mean {near[0]}?" if near else "docs/options lists them")
    if isinstance(value, bool) and (option.alone or not option.metavar):
        return [option.alone] * value
    if isinstance(value, list) and option.repeatable:
        return [_text(path, option, each) for each in value]
    return [_text(path, option, value)]


def _text(path: str, option: Option, value: object) -> str:
    if not option.metavar:
        raise ConfigError(f"{path}: {option.name}: write true or false")
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    example = f'"{option.metavar}"'
    raise ConfigError(f"{path}: {option.name}: write {option.name} = {f'[{example}]' if option.repeatable else example}")
