"""
``ssh://[USER@]HOST[:PORT]``: the other host, as the system's ssh knows it.

HOST may be an alias of the user's ssh configuration. It becomes a word of ssh's command line, so it never looks like an option.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from nbdtun.errors import ConfigError

SCHEME: Final = "ssh://"

_FORM: Final = re.compile(
    r"ssh://(?:(?P<user>[^@/:\s-][^@/:\s]*)@)?(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[\w.][\w.-]*))(?::(?P<port>[0-9]{1,5}))?/?",
    re.ASCII,
)


@frozen
class SSHAddress:
    """A host, and the user and port that ssh is to use; None: what ssh's own configuration says."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{SCHEME}{f'{self.user}@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"

    @classmethod
    def parse(cls, text: str) -> SSHAddress:
        """
        Read ``ssh://[USER@]HOST[:PORT]``.

        :raise ConfigError: it does not have that form.
        """
        found = _FORM.fullmatch(text)
        if found is None or not 0 < int(found["port"] or 22) < 65536:
            raise ConfigError(f"{text!r} does not have the form ssh://[USER@]HOST[:PORT]", _remedy(text))
        return cls(found["six"] or found["host"], found["user"], int(found["port"]) if found["port"] else None)


def is_ssh(text: str) -> bool:
    """Whether ``text`` names a host to reach by ssh."""
    return text.startswith(SCHEME)


def _remedy(text: str) -> str:
    """What the operator may have meant."""
    rest = text.removeprefix(SCHEME)
    if ":" in rest.partition("@")[0] and "@" in rest:
        return "leave the password out: ssh asks for it"
    if "/" in rest.rstrip("/"):
        return "leave the path out"
    return "an IPv6 address stands in brackets" if rest.count(":") > 1 and "[" not in rest else ""
