"""A command line as it is shown: without the secrets in it. Its output goes into tickets and logs, unlike the process itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nbdtun.spawn.command.line import Option, parse
from nbdtun.spawn.command.options import KEYED
from nbdtun.spawn.command.params import FALSE, TRUE

#: What stands in a secret's place.
HIDDEN: Final = "HIDDEN"


def hidden(arguments: Sequence[str]) -> tuple[str, ...]:
    """The same words without the data of ``-object secret`` and without passwords: of ``-spice``, ``-iscsi`` and block drivers."""
    return tuple(word for option in parse(arguments) for word in _hidden(option).words)


def _hidden(option: Option) -> Option:
    if option.name not in KEYED:
        return option
    params = option.params
    has_data = option.name == "object" and params.get("qom-type").startswith("secret")
    for pair in params.pairs:
        last = pair.key.rpartition(".")[2]
        if (has_data and last == "data") or (last == "password" and pair.text not in TRUE | FALSE):
            params = params.set(pair.key, HIDDEN)
    return option if params == option.params else option.with_(params)
