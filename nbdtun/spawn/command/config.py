"""
The files of ``-readconfig``: groups of options, as ``qemu_config_foreach`` reads them.

::

    [device "net0"]
      driver = "virtio-net-pci"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from nbdtun.errors import ConfigError
from nbdtun.spawn.command.options import KEYED

#: The option that a group stands for, if its name is another one.
_GROUPS: Final[Mapping[str, str]] = {"memory": "m", "smp-opts": "smp", "boot-opts": "boot"}
#: The groups that are options' names.
_SAME: Final = KEYED.keys() - _GROUPS.values() | {"global"}

_GROUP = re.compile(r'\[\s*([\w-]+)\s*(?:"([^"]*)")?\s*\]')
_SETTING = re.compile(r'([\w.-]+)\s*=\s*"([^"]*)"')


def words(text: str, path: str) -> Iterator[tuple[str, str]]:
    """
    The options that the file at ``path`` with this ``text`` stands for, each with its value.

    :raise ConfigError: a line or a group is unknown.
    """
    group, pairs = "", list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        found = line.strip()
        if not found or found.startswith("#"):
            continue
        if begun := _GROUP.fullmatch(found):
            if group:
                yield group, ",".join(pairs)
            group, pairs = _option(begun[1], path), [] if begun[2] is None else [f"id={begun[2].replace(',', ',,')}"]
        elif (setting := _SETTING.fullmatch(found)) and group:
            pairs.append(f"{setting[1]}={setting[2].replace(',', ',,')}")
        else:
            raise ConfigError(f"-readconfig {path}: line {number} is not known to nbdtun: {found:.60}")
    if group:
        yield group, ",".join(pairs)


def _option(group: str, path: str) -> str:
    name = _GROUPS.get(group, group)
    if group not in _GROUPS and group not in _SAME:
        raise ConfigError(f"-readconfig {path}: the group [{group}] is not known to nbdtun", "write it as options")
    return name
