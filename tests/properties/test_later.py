"""A peer of a later release: it tells more than this one knows, wherever there is room, and is understood all the same."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp

from nbdtun.amp import MAX_KEYS, SECRET_SIZE, CheckedCommand, Flag, Number, Object, Rows, Secret
from nbdtun.migration.control.commands import SessionId, Settled
from nbdtun.migration.vm.hardware.wire import HardwareArgument
from nbdtun.service.control.commands import Report
from nbdtun.tunnel.opening.commands import IDENT_SIZE, Ident
from nbdtun.versions import Features
from tests.fuzz.seeds import REPORT
from tests.fuzz.targets import SESSION
from tests.migration.stage.machines import PACKED
from tests.properties.hostile import COMMANDS
from tests.tunnel.stage.stranger import box

#: Fields of a later release; none of this one's begins so.
MORE = st.dictionaries(st.from_regex(r"x-[a-z]{1,20}", fullmatch=True), st.binary(max_size=40), min_size=1, max_size=MAX_KEYS - 20)


def honest(argument: Any, more: dict[str, Any]) -> bytes:
    """A value of this type; in the boxes of a list, with ``more``."""
    match argument:
        case Rows():
            return box(**{name.decode(): honest(each, more) for name, each in argument.subargs}, **more)
        case Number():
            return b"%d" % max(1, argument.least)
        case Ident():
            return b"i" * IDENT_SIZE
        case Flag():
            return b"True"
        case Features():
            return b"a b"
        case SessionId():
            return SESSION.encode()
        case Secret():
            return b"s" * SECRET_SIZE
        case Settled():
            return b"arrived"
        case HardwareArgument():
            return PACKED
        case Object():
            return zlib.compress(b'{"add": [], "remove": [], "x-more": 1}')
        case Report():
            return REPORT
        case _:
            return b"ok"


def parsed(fields: list[tuple[bytes, Any]], parse: Any, more: dict[str, Any]) -> Any:
    said = amp.AmpBox({name: honest(each, more) for name, each in fields})
    return parse(amp.AmpBox({**said, **{name.encode(): value for name, value in more.items()}}), amp.AMP())


@given(st.sampled_from(list(COMMANDS.values())), MORE)
def test_an_unknown_field_anywhere_changes_nothing(command: type[CheckedCommand], more: dict[str, Any]) -> None:
    for fields, parse in ((command.arguments, command.parseArguments), (command.response, command.parseResponse)):
        assert parsed(fields, parse, more) == parsed(fields, parse, {})


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_there_is_room_for_more(command: type[CheckedCommand]) -> None:
    """A box has a limited number of fields; a later release needs some of them, for each command."""
    assert max(len(command.arguments), len(command.response)) + len(["_command", "_ask"]) <= MAX_KEYS - 16
