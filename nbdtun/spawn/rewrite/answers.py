"""What differs between the two hosts, as the operator says it: ``--map``, ``--disk``, ``--set``, or a file of such answers."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import field, frozen

from nbdtun.errors import ConfigError

#: The formats of images that can be made: others lose what their own options say.
FORMATS: Final = ("raw", "qcow2")


@frozen
class Mapped:
    """Each path at the source that begins with ``here`` begins with ``there`` at the far end."""

    here: str
    there: str

    @classmethod
    def parse(cls, text: str) -> Mapped:
        """
        Read ``/srv/vm=/data/vm``.

        :raise ConfigError: it does not have that form.
        """
        here, equals, there = text.partition("=")
        if not (equals and here.startswith("/") and there.startswith("/")):
            raise ConfigError(f"{text!r} does not have the form PATH=PATH, such as /srv/vm=/data/vm, with absolute paths")
        return cls(os.path.normpath(here), os.path.normpath(there))


@frozen
class Place:
    """Where the image of the disk ``node`` is at the far end, and its format there, empty for the same one."""

    node: str
    path: str
    format: str = ""

    @classmethod
    def parse(cls, text: str) -> Place:
        """
        Read ``NODE=PATH[,format=FORMAT]``.

        :raise ConfigError: it does not have that form.
        """
        node, equals, rest = text.partition("=")
        path, comma, last = rest.rpartition(",format=")
        path, format_ = (path, last) if comma else (rest, "")
        if not (equals and node and path.startswith("/")):
            raise ConfigError(
                f"{text!r} does not have the form NODE=PATH[,format=FORMAT], such as vda=/data/web1.qcow2, with an absolute path"
            )
        if format_ and format_ not in FORMATS:
            raise ConfigError(f"{text!r}: use one of the formats {', '.join(FORMATS)}")
        return cls(node, os.path.normpath(path), format_)


@frozen
class Answers:
    """
    All answers. ``settings`` have the form ``GROUP.ID.KEY=VALUE``.

    ``overwrite`` gives up the content of images that are there. ``keep_backing`` keeps backing files, which must be there. ``unit``: QEMU
    is a unit of systemd's.
    """

    maps: tuple[Mapped, ...] = ()
    disks: Mapping[str, Place] = field(factory=dict)
    settings: tuple[str, ...] = ()
    overwrite: bool = False
    keep_backing: bool = False
    unit: bool = False

    def far(self, path: str) -> str:
        """Where ``path`` is at the far end: the longest prefix that fits counts."""
        fitting = [one for one in self.maps if f"{path}/".startswith(f"{one.here.rstrip('/')}/")]
        if not fitting:
            return path
        best = max(fitting, key=lambda one: len(one.here))
        return os.path.normpath(f"{best.there}/{path[len(best.here.rstrip('/')) :]}")


def places(given: Iterable[Place]) -> dict[str, Place]:
    """
    The places of disks by their nodes.

    :raise ConfigError: a disk has two.
    """
    found: dict[str, Place] = {}
    for place in given:
        if place.node in found:
            raise ConfigError(f"--disk: {place.node} has two places")
        found[place.node] = place
    return found


def read_answers(text: str, path: str) -> dict[str, list[str]]:
    """
    Read a file of answers: a line has an option's name without dashes, ``map``, ``disk`` or ``set``, and its value.

    :raise ConfigError: a line is none.
    """
    found: dict[str, list[str]] = {"map": [], "disk": [], "set": []}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            words = ["", ""]
        if words and (len(words) != 2 or words[0] not in found):
            raise ConfigError(f"{path}, line {number}: {line[:60]!r} is not `map`, `disk` or `set` and a value")
        if words:
            found[words[0]].append(words[1])
    return found
