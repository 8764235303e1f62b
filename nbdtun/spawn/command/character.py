"""
A character device in one word, as ``-serial``, ``-monitor``, ``-qmp`` and others have it (``qemu_chr_parse_compat``).

::

    unix:/run/web1.qmp,server=on,wait=off    tcp:localhost:4444,server    file:/var/log/web1.log    mon:stdio    chardev:id
"""

from __future__ import annotations

from typing import Final, Self

from attrs import evolve, field, frozen

from nbdtun.errors import ConfigError
from nbdtun.spawn.command.params import Params

#: Words without anything behind them.
_ALONE: Final = frozenset({"none", "null", "pty", "vc", "stdio", "ringbuf", "braille", "msmouse", "wctablet", "testdev"})
#: What stands behind the colon is one path.
_PATHS: Final = frozenset({"file", "pipe"})
#: What stands behind the colon is an address, and then options.
_ADDRESSES: Final = frozenset({"tcp", "telnet", "tn3270", "websocket", "udp"})


@frozen
class Character:
    """
    One of them: the ``backend`` is a word of ``-chardev``, or ``none``, or ``chardev`` for a device with the id in ``params``.

    ``mux``: it began with ``mon:``. ``prefix`` is the word before the colon.
    """

    backend: str
    prefix: str = ""
    params: Params = field(factory=Params)
    mux: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read the word.

        :raise ConfigError: it is unknown.
        """
        mux = text.startswith("mon:")
        word = text.removeprefix("mon:") if mux else text
        prefix, colon, rest = word.partition(":")
        if word in _ALONE or prefix == "vc":
            return cls("vc" if prefix == "vc" else word, word, mux=mux)
        if word.startswith("/dev/"):
            return cls("serial", "", Params().set("path", word), mux)
        if colon and prefix in _PATHS:
            return cls(prefix, prefix, Params().set("path", rest), mux)
        if colon and prefix == "unix":
            return cls("socket", prefix, Params.read(rest, "path"), mux)
        if colon and prefix in _ADDRESSES:
            return cls("udp" if prefix == "udp" else "socket", prefix, Params.read(rest, "address"), mux)
        if colon and prefix == "chardev":
            return cls("chardev", prefix, Params().set("id", rest), mux)
        raise ConfigError(f"the character device {text:.60} is not known to nbdtun", "write it as -chardev")

    def __str__(self) -> str:
        before = "mon:" if self.mux else ""
        if self.backend == "serial" and not self.prefix:
            return before + self.params.get("path")
        if self.prefix in _PATHS:
            return f"{before}{self.prefix}:{self.params.get('path')}"
        if self.backend == "chardev":
            return f"{before}chardev:{self.params.get('id')}"
        return f"{before}{self.prefix}:{self.params}" if self.params.pairs else before + self.prefix

    def with_(self, params: Params) -> Character:
        """The same with other values."""
        return evolve(self, params=params)

    @property
    def address(self) -> tuple[str, int] | None:
        """The host and port of a TCP or UDP address; None for another."""
        text = self.params.get("address").partition("@")[0]
        host, colon, port = text.rpartition(":")
        return (host.strip("[]"), int(port)) if colon and port.isascii() and port.isdigit() and len(port) < 6 else None
