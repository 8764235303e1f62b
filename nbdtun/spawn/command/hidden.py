"""
A command line as it is shown, and texts about it: without the secrets in it. They go into tickets and logs, unlike the process itself.

Secrets are whole values (``password=``, the data of ``-object secret``, what ``-fw_cfg`` and ``-smbios`` give to the guest), or parts of
one: of an image's address, of JSON, of a kernel's command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from nbdtun.spawn.command.line import Option, parse
from nbdtun.spawn.command.options import KEYED
from nbdtun.spawn.command.params import FALSE, TRUE, Pair

#: What stands in a secret's place.
HIDDEN: Final = "HIDDEN"

#: Keys of secrets in any option, by the last part of their names; ``password=on`` is a flag of ``-vnc``.
_ALWAYS: Final = frozenset({"password", "key", "cookie", "rxcookie", "txcookie"})
#: Keys of secrets in some.
_OF: Final = {"fw_cfg": "string", "smbios": "value"}

_WORD: Final = r"[\w.-]*(?:pass|secret|token|cookie|credential|signature|key)[\w.-]*"
#: Parts that are secret, which begin at ``secret``.
_PARTS: Final = (
    re.compile(r"(?<=:)(?:key|password)=(?P<secret>(?:\\.|[^:\\\s,])+)"),  # rbd:pool/image:id=me:key=...
    re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/@:%?]*[:%](?P<secret>[^\s/@]+)@", re.IGNORECASE),
    re.compile(rf"[?&]{_WORD}=(?P<secret>[^\s&]+)", re.IGNORECASE),
    re.compile(r'"(?:[\w.-]*password|key|data|cookie|=keyvalue-pairs)"\s*:\s*"(?P<secret>(?:\\.|[^"\\])+)"'),
)
#: Those of a kernel's or a firmware's variables.
_VARIABLE: Final = re.compile(rf"(?:^|(?<=\s)){_WORD}=(?:[^\s:]+:)?(?P<secret>\S+)", re.IGNORECASE)
_VARIABLES: Final = frozenset({"append", "prom-env"})


def hidden(arguments: Sequence[str]) -> tuple[str, ...]:
    """The same words without their secrets."""
    return tuple(word for option in parse(arguments) for word in _hidden(option).words)


class Hiding:
    """Hides in texts what is secret in a command line."""

    def __init__(self, options: Sequence[Option]) -> None:
        found = {secret for option in options for secret in _secrets(option)}
        words = "|".join(re.escape(secret) for secret in sorted(found, key=len, reverse=True))
        self._known = re.compile(rf"(?<!\w)(?:{words})(?!\w)" if words else r"(?!)")

    def __repr__(self) -> str:
        return "<Hiding>"

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return self._known.sub(HIDDEN, _without_parts(text))


def _hidden(option: Option) -> Option:
    if option.name not in KEYED:
        return option if option.value is None else Option(option.name, _without_parts(option.value, option.name in _VARIABLES))
    params = option.params
    for pair in params.pairs:
        if isinstance(pair.value, str):
            shown = HIDDEN if _is_secret(option, pair) else _without_parts(pair.text)
            params = params if shown == pair.text else params.set(pair.key, shown)
    return option if params == option.params else option.with_(params)


def _is_secret(option: Option, pair: Pair) -> bool:
    last = pair.key.rpartition(".")[2]
    if option.name == "object" and option.params.get("qom-type").startswith("secret"):
        return last == "data"
    return last == _OF.get(option.name) or (last in _ALWAYS and not pair.bare and pair.text not in TRUE | FALSE)


def _without_parts(text: str, variables: bool = False) -> str:
    for pattern in (*_PARTS, *((_VARIABLE,) if variables else ())):
        while found := next((each for each in pattern.finditer(text) if each["secret"] != HIDDEN), None):
            text = text[: found.start("secret")] + HIDDEN + text[found.end("secret") :]
    return text


def _secrets(option: Option) -> Iterator[str]:
    """The secrets of an option."""
    if option.name not in KEYED:
        yield from _parts(option.value or "", option.name in _VARIABLES)
        return
    for pair in option.params.pairs:
        if isinstance(pair.value, str):
            yield from [pair.text] if _is_secret(option, pair) else _parts(pair.text)


def _parts(text: str, variables: bool = False) -> Iterator[str]:
    for pattern in (*_PARTS, *((_VARIABLE,) if variables else ())):
        yield from (each["secret"] for each in pattern.finditer(text))
