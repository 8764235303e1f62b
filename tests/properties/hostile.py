"""What hypothesis makes of the bytes for the targets of ``tests/fuzz``: near to what honest peers say, and far from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from nbdtun.amp import CheckedCommand
from nbdtun.errors import NbdtunError, tree
from nbdtun.migration.check import command as check_command
from nbdtun.migration.control import commands as migration_commands
from nbdtun.migration.qmp.schema import EVENTS
from nbdtun.service.control import socket as control_commands
from nbdtun.tunnel.opening import commands as tunnel_commands
from nbdtun.tunnel.protocol.frames import HEADER, MAX_DATA, MAX_REASON, Kind, encode
from tests.fuzz import targets
from tests.fuzz.seeds import PROGRESS, QEMU, SEEDS
from tests.fuzz.targets import SESSION
from tests.tunnel.stage.stranger import box

WINDOW = targets.TERMS.window
#: From one byte to more than a window, and around each size at which something else is done with a frame.
SIZES = [0, 1, 5, MAX_REASON, MAX_REASON + 1, 65535, 65536, 65537, 100_000, WINDOW - 1, WINDOW, WINDOW + 1]
OFFSETS = st.one_of(st.integers(0, 20), st.integers(0, 2**64 - 1), st.sampled_from([5, 6, 15, 16, *SIZES]))
KINDS = st.one_of(st.sampled_from([int(kind) for kind in Kind]), st.integers(0, 255))
LENGTHS = st.one_of(st.sampled_from([*SIZES, MAX_DATA, MAX_DATA + 1, 2**32 - 1]), st.integers(65536, WINDOW))
FRAMES = st.one_of(
    st.tuples(KINDS, OFFSETS, st.binary(max_size=80)).map(lambda frame: HEADER.pack(frame[0], len(frame[2]), frame[1]) + frame[2]),
    st.tuples(KINDS, LENGTHS, OFFSETS).map(lambda header: HEADER.pack(*header)),
    st.integers(65536, WINDOW).map(lambda size: encode(Kind.DATA, 0, bytes(size))),
    st.just(encode(Kind.DATA, 0, bytes(WINDOW + 1)[:MAX_DATA])),
    st.binary(max_size=40),
)
LINKS = st.lists(FRAMES, max_size=12).map(b"".join)


def _commands() -> dict[str, type[CheckedCommand]]:
    """All commands that there are, by their names."""
    modules = (tunnel_commands, migration_commands, check_command, control_commands)
    found = [one for module in modules for one in vars(module).values() if isinstance(one, type) and issubclass(one, CheckedCommand)]
    return {one.commandName.decode(): one for one in found if not one.__name__.startswith("_") and one is not CheckedCommand}


COMMANDS = _commands()
FIELDS = sorted({name.decode() for one in COMMANDS.values() for name, _ in (*one.arguments, *one.response)})
_VALUES = ["1", "0", "-1", "", "True", "9" * 30, "i" * 16, "disk", "web1", SESSION, "/etc/shadow", "../x", "nbd.sock", "[config]"]
WORDS = st.one_of(st.sampled_from(_VALUES), st.text(max_size=20), st.just("no\x1b]0;owned\x07\nmore"))
AMP = ["_ask", "_command", "_answer", "_error", "_error_code", "_error_description"]
CODES = st.one_of(st.sampled_from([error.code for error in tree(NbdtunError)]), WORDS).map(lambda code: {"_error_code": code})
NAMES = st.sampled_from([*sorted(COMMANDS), "StartTLS"]).map(lambda name: {"_command": name})
ERRORS = st.tuples(CODES, WORDS).map(lambda said: said[0] | {"_error": "1", "_error_description": said[1]})


@st.composite
def boxes(draw: st.DrawFn) -> bytes:
    """A box with some of the fields that there are; often those of a command, or of an error."""
    begun = draw(st.one_of(st.just({}), NAMES, ERRORS, st.just({"_answer": "1"})))
    fields = [name.decode() for name, _ in COMMANDS[begun["_command"]].arguments] if begun.get("_command") in COMMANDS else FIELDS
    said = draw(st.dictionaries(st.sampled_from([*fields, *AMP, *FIELDS]), WORDS, max_size=8))
    return box(**begun | said | ({"_ask": "1"} if draw(st.booleans()) else {}))


BOXES = st.lists(boxes(), max_size=5).map(b"".join)


@st.composite
def near(draw: st.DrawFn, name: str) -> bytes:
    """What an honest peer says, with some of it changed, left out or repeated."""
    said = bytearray(b"".join(draw(st.lists(st.sampled_from(SEEDS[name]), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 4))):
        at, count = draw(st.integers(0, len(said))), draw(st.integers(0, 6))
        said[at : at + count] = draw(st.binary(max_size=6))
    return bytes(said)


ODD = st.sampled_from(["\ud800", "\x1b[2J\n"])
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8), st.sampled_from(["\ud800", "\x1b[2J\n"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["id", "status", "inserted", "ram"]), inner)),
    max_leaves=8,
)


@st.composite
def broken(draw: st.DrawFn, honest: Mapping[str, Any] = QEMU) -> dict[str, Any]:
    """What is honest, with some parts of it replaced by anything."""
    said: dict[str, Any] = json.loads(json.dumps(honest))
    for _ in range(draw(st.integers(1, 4))):
        place: Any = said
        key: Any = draw(st.sampled_from(sorted(said)))
        while isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
            place = place[key]
            key = draw(st.sampled_from(sorted(place))) if isinstance(place, dict) else draw(st.integers(0, len(place) - 1))
        place[key] = draw(JSON)
    return said


def _bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


_EVENT = st.fixed_dictionaries({}, optional={"device": WORDS, "id": WORDS, "status": WORDS, "error": WORDS})
TOLD = st.dictionaries(
    st.one_of(st.sampled_from([*EVENTS, "STOP", "RESUME", "SHUTDOWN", "DEVICE_DELETED"]), WORDS), _EVENT | WORDS, max_size=6
)
ENDPOINTS = st.lists(
    st.sampled_from(["tcp", "unix", "ssl", ":", "=", "\\", "mode", "660", "/run/a", "::1", "1", "interface"]) | WORDS, max_size=8
)

#: For each target more than what is nearly honest, or anything at all.
MORE: Mapping[str, SearchStrategy[bytes]] = {
    "opening": BOXES,
    "answers": BOXES,
    "commands": BOXES,
    "command_answers": BOXES,
    "control_socket": BOXES,
    "control_client": st.one_of(BOXES, JSON.map(lambda value: box(_answer="1", report=_bytes(value)[:60_000]))),
    "frames": LINKS,
    "link_of_destination": LINKS,
    "with_keys": st.tuples(st.integers(0, 255), LINKS).map(lambda said: bytes([said[0]]) + said[1]),
    "qmp": st.one_of(broken().map(_bytes), JSON.map(_bytes)),
    "report": broken(PROGRESS).map(_bytes),
    "journal": broken(json.loads(SEEDS["journal"][0])).map(_bytes),
    "events": TOLD.map(_bytes),
    "endpoint": ENDPOINTS.map(lambda parts: "".join(parts).encode("utf-8", "replace")),
}


def anything(name: str) -> SearchStrategy[bytes]:
    """All that a target may be given."""
    kinds = [near(name), st.binary(max_size=600)]
    return st.one_of(*kinds, MORE[name]) if name in MORE else st.one_of(*kinds)
