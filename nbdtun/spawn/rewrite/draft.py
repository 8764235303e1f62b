"""A plan that is being written: what the rules of the options find, option by option."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping

from nbdtun.migration.catalogue import ALTERED, UNPLANNED
from nbdtun.migration.finding import Finding
from nbdtun.spawn.command.line import Option
from nbdtun.spawn.command.params import Params
from nbdtun.spawn.rewrite.answers import Answers
from nbdtun.spawn.rewrite.source import Source
from nbdtun.spawn.values import Image, Interface, Path, Port, Role

#: Keys whose value is a descriptor that somebody passed, and paths of such.
_DESCRIPTORS = frozenset({"fd", "fds", "vhostfd", "vhostfds", "sock_fd", "sock-fd"})
_DESCRIPTOR_PATH = re.compile(r"/dev/fd(set)?/|/proc/self/fd/")


class Draft:
    """The lists of a plan, and the ``option`` whose turn it is."""

    def __init__(self, source: Source, answers: Answers) -> None:
        self.source = source
        self.answers = answers
        self.option = Option("")
        self.findings: list[Finding] = []
        self.paths: list[Path] = []
        self.images: list[Image] = []
        self.interfaces: list[Interface] = []
        self.ports: list[Port] = []
        self.devices: list[str] = []

    def __repr__(self) -> str:
        return f"<Draft for {self.source.vm}, at {self.option.where}>"

    def refuse(self, why: str, remedy: str | None = None) -> None:
        """The option cannot be had at the far end."""
        self.findings.append(UNPLANNED(f"{self.option.where}: {why}", remedy))

    def warn(self, what: str) -> None:
        """The option is changed."""
        self.findings.append(ALTERED(f"{self.option.where}: {what}"))

    def whole(self, path: str) -> str:
        """The whole path at the source of a ``path`` in its command line; empty, and refused, if it is unknown."""
        if path.startswith("/"):
            return os.path.normpath(path)
        if self.source.directory:
            return os.path.normpath(f"{self.source.directory}/{path}")
        found = {file for file in self.source.files if file.endswith(f"/{path.removeprefix('./')}")}
        if len(found) == 1:
            return found.pop()
        self.refuse(f"the path {path} is relative, and QEMU's first directory is unknown", "start QEMU with absolute paths")
        return ""

    def place(self, path: str, role: Role) -> str:
        """The far end's path for ``path``, which is noted; a descriptor's is refused."""
        if _DESCRIPTOR_PATH.match(path):
            self.refuse(f"{path} is a descriptor that another program passed to QEMU")
            return path
        origin = self.whole(path)
        far = self.answers.far(origin)
        if origin:
            self.paths.append(Path(far, role, self.option.where, origin))
        return far

    def placed(self, params: Params, roles: Mapping[str, Role]) -> Params:
        """The same with the far end's paths, where ``roles`` has the keys of all paths."""
        for key, role in roles.items():
            value = params.get(key)
            if value:
                params = params.set(key, self.place(value, role))
        return params

    def strict(self, params: Params, known: Collection[str] = ()) -> None:
        """Refuse descriptors, and paths in keys that are not ``known``."""
        for pair in params.pairs:
            last = pair.key.rpartition(".")[2]
            if last in _DESCRIPTORS or (pair.key.endswith(".type") and pair.text == "fd") or "fds." in pair.key:
                self.refuse(f"{pair.key}={pair.text} is a descriptor that another program passed to QEMU")
            elif pair.text.startswith("/") and pair.key not in known:
                self.refuse(f"{pair.key}={pair.text} is a path in a place that is not known to nbdtun")

    def listen(self, host: str, port: str, *, udp: bool = False) -> None:
        """QEMU listens at a port."""
        if port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            self.ports.append(Port(host, int(port), self.option.where, udp))
