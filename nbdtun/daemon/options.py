"""
The options that both twistd plugins share, and how option texts become settings.

Values are read in ``postOptions``, all at once: then an error can name its option, and whatever is wrong is a ``UsageError``, which twistd
prints as a line and not as a traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, TypeVar

from twisted.python.usage import Options, UsageError

from nbdtun import __version__
from nbdtun.config import Owner, TunnelSettings
from nbdtun.errors import ConfigError, NbdtunError
from nbdtun.units import parse_duration, parse_rate, parse_size

_T = TypeVar("_T")


class TunnelOptions(Options):
    """What is said of a tunnel at either end; a subclass adds its own and says in :meth:`build` what becomes of them."""

    optFlags: ClassVar[list[list[str | None]]] = [["insecure", None, "Use endpoints that others can reach even without TLS."]]
    optParameters: ClassVar[list[list[str | None]]] = [
        ["tls-dir", None, None, "Directory with ca-cert.pem and this end's certificate and key; `nbdtun certs` makes one."],
        ["run-dir", None, None, "Directory for the sockets that this daemon makes for itself. [default: a fresh one, 0700]"],
        ["socket-owner", None, None, "USER[:GROUP] to give those sockets to: the user that QEMU runs as."],
        ["bandwidth", None, None, "Bytes per second that it may send, all channels together, such as 500MiB. [default: no limit]"],
        ["window", None, "16MiB", "Unacknowledged bytes per channel and direction, kept in case the link is lost."],
        ["link-timeout", None, "15s", "Silence after which a link counts as lost."],
        ["resume-window", None, "300s", "How long a channel waits for a new link before it is given up."],
        ["handshake-timeout", None, "10s", "How long a new connection may take, from its first packet, to become a link of a channel."],
    ]

    settings: Any

    def opt_version(self) -> None:
        """Print nbdtun's version and exit."""
        print(f"nbdtun {__version__}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Make the settings; :exc:`UsageError` with one line if that cannot be."""
        try:
            self.settings = self.build()
        except ConfigError as error:
            raise UsageError(error.line) from None

    def build(self) -> Any:
        """The settings of this daemon; :exc:`ConfigError` if there can be none."""
        raise NotImplementedError

    def tunnel(self, tls_name: str | None = None) -> TunnelSettings:
        """The settings that both ends have."""
        return TunnelSettings(
            tls_dir=self["tls-dir"],
            tls_name=tls_name,
            insecure=bool(self["insecure"]),
            run_dir=self["run-dir"],
            socket_owner=self.read("socket-owner", Owner.parse),
            bandwidth=self.read("bandwidth", parse_rate),
            window=self.required("window", parse_size),
            link_timeout=self.required("link-timeout", parse_duration),
            resume_window=self.required("resume-window", parse_duration),
            handshake_timeout=self.required("handshake-timeout", parse_duration),
        )

    def read(self, option: str, parse: Callable[[str], _T]) -> _T | None:
        """The value of an option that may be left out; its errors name it."""
        return None if self[option] is None else self.required(option, parse)

    def required(self, option: str, parse: Callable[[str], _T]) -> _T:
        """The value of an option that must be there; its errors name it."""
        text = self[option]
        if text is None:
            raise ConfigError(f"--{option} is missing")
        return parse_each(option, [text], parse)[0]


def parse_each(option: str, texts: list[str], parse: Callable[[str], _T]) -> tuple[_T, ...]:
    """The values of an option that may be given often; its errors name it."""
    try:
        return tuple(parse(text) for text in texts)
    except ConfigError as error:
        raise ConfigError(f"--{option}: {error}") from None


def give_up(plugin: str, error: NbdtunError) -> NoReturn:
    """
    End the process with one line, status 1, when a service cannot be made of good options: an unreadable key, say.

    twistd catches a ``UsageError`` while it parses options, and no longer while it makes the service.
    """
    raise SystemExit(f"{plugin}: {error.line}") from None
