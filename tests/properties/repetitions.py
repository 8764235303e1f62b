"""
What happens again and again to a daemon that runs for years: each way to be refused, and each way to end.

A case makes its stage, and returns what is to be repeated; afterwards nothing of a repetition may be left.
"""

from __future__ import annotations

from collections.abc import Mapping

from nbdtun.errors import TunnelError, tree
from nbdtun.migration.control.commands import MIGRATION, Abort, Listen, Prepare, Query, Settle
from nbdtun.migration.progress import Phase
from nbdtun.service.control.commands import Cancel, Set, Status
from nbdtun.tunnel.destination.allowlist import AllowList
from nbdtun.tunnel.protocol.frames import Kind, encode, encode_reset
from tests.migration.stage.machines import HARDWARE
from tests.properties.repeated_channels import (
    OTHER,
    TERMS,
    Case,
    answer,
    complete,
    cut_and_complete,
    ended,
    ending,
    expired,
    framed,
    full,
    nobody_there,
    old_offset,
    reset_by_tcp,
    silent,
    stranger,
    too_many_local,
    unreachable,
    with_tls,
)
from tests.properties.repeated_sessions import asked, controlled, migration, refusing
from tests.tunnel.stage.stranger import AGREED, OFFER, box

SESSION = "0123456789abcdef" * 2
OPEN = box(_command="OpenChannel", _ask="1", **OFFER, channel=OTHER, target="disk", window=1 << 18)
PREPARE = {"session": SESSION, **MIGRATION.offer(), "vm": "web1", "hardware": HARDWARE, "disks": [], "allowed": []}
HONEST = box(_answer="1", **AGREED, received=0, window=TERMS.window)

AT_A_DESTINATION: Mapping[str, Case] = {
    "a port scanner": stranger(),
    "silence": stranger(seconds=6),
    "garbage": stranger(b"GET / HTTP/1.1\r\n\r\n"),
    "no AMP": stranger(b"\xff" * 3000),
    "an empty box": stranger(b"\0\0"),
    "too many keys": stranger(box(**{f"k{n}": "x" for n in range(20)})),
    "too much": stranger(*[box(_command="Unknown", _ask="1", padding="x" * 4000)] * 5),
    "an unknown command": stranger(box(_command="Unknown", _ask="1")),
    "StartTLS": stranger(box(_command="StartTLS", _ask="1")),
    "no fields": stranger(box(_command="OpenChannel", _ask="1")),
    "a malformed field": stranger(OPEN.replace(b"window", b"windoW")),
    "a malformed flag": stranger(OPEN.removesuffix(b"\0\0") + b"\0\6urgent\0\5maybe\0\0"),
    "no answer wanted": stranger(OPEN.replace(b"\0\4_ask\0\0011", b"")),
    "another version": stranger(OPEN.replace(b"est\0\0011", b"est\0\0012")),
    "an unknown target": stranger(OPEN.replace(b"\0\4disk", b"\0\4risk")),
    "a short id": stranger(OPEN.replace(b"\0\x10" + OTHER, b"\0\x01o")),
    "a tiny window": stranger(box(_command="OpenChannel", _ask="1", **OFFER, channel=OTHER, target="disk", window=1)),
    "an unknown channel": stranger(box(_command="ResumeChannel", _ask="1", **OFFER, channel=OTHER, received=0)),
    "two commands": stranger(OPEN + OPEN),
    "not admitted": stranger(OPEN, allow=AllowList(("nobody",))),
    "an unreachable target": unreachable,
    "no room": full,
    "a channel that was reset": ended(encode_reset("reset", "no more")),
    "a channel that has expired": ended(),
    "a channel that broke the protocol": ended(b"\xff" * 16),
    "an old offset": old_offset,
}
UNDER_TLS: Mapping[str, Case] = {
    "no TLS": with_tls(b"GET / HTTP/1.1\r\n\r\n"),
    "half a handshake": with_tls(b"\x16\x03\x01\x02\x00\x01\x00"),
    "not admitted": with_tls(allow=AllowList(("nobody",))),
    "another name": with_tls(name="elsewhere"),
}
AT_A_SOURCE: Mapping[str, Case] = {
    **{f"the error {error.code}": answer(box(_error="1", _error_code=error.code, _error_description="no")) for error in tree(TunnelError)},
    "an unknown error": answer(box(_error="1", _error_code="whatever", _error_description="no\x1b[2J")),
    "nonsense": answer(b"\xff" * 100),
    "a question": answer(OPEN),
    "an answer without fields": answer(box(_answer="1")),
    "a hang-up": answer(b""),
    "BYE at once": answer(HONEST + encode(Kind.BYE, 0)),
    "a violation": answer(HONEST + encode(Kind.ACK, 1 << 40)),
    "a reset": answer(HONEST + encode_reset("reset", "no more")),
    "nobody there": nobody_there,
    "too many of one user": too_many_local,
}
ENDS: Mapping[str, Case] = {
    "complete": ending(complete),
    "the program closes": ending(lambda stage, near, far: near.close()),
    "the target closes": ending(lambda stage, near, far: far.close()),
    "the program is reset": ending(reset_by_tcp),
    "reset here": ending(lambda stage, near, far: stage.forwarder.reset("enough")),
    "reset there": ending(lambda stage, near, far: stage.destination.reset("disk", "enough")),
    "cut, and complete": ending(cut_and_complete),
    "silent, and complete": ending(silent),
    "expired": ending(expired),
    "no frame": framed(b"\xff" * 16),
    "data out of order": framed(encode(Kind.DATA, 7, b"x")),
    "a false acknowledgement": framed(encode(Kind.ACK, 1 << 40)),
    "a false end": framed(encode(Kind.FIN, 7)),
    "a reset": framed(encode_reset("reset", "x" * 2000)),
    "BYE": framed(encode(Kind.BYE, 0)),
    "its end, and gone": framed(encode(Kind.FIN, 0)),
    "half a frame": framed(encode(Kind.DATA, 0, b"12345")[:18]),
}
SESSIONS: Mapping[str, Case] = {
    "moved": migration(),
    "the source refuses": migration(refusing("source", "blockdev-add")),
    "the destination refuses": migration(refusing("destination", "block-export-add")),
    "the source refuses to migrate": migration(refusing("source", "migrate")),
    "the control channel is lost": migration(lambda stage, moving: stage.cut(), until=Phase.MIRROR),
    "the destination's QEMU ends": migration(lambda stage, moving: stage.destination.die(), until=Phase.MIRROR),
    "cancelled": migration(lambda stage, moving: moving.cancel(), until=Phase.MIRROR),
    "an unknown VM": asked(Prepare, **PREPARE | {"vm": "web9"}),
    "another version": asked(Prepare, **PREPARE | {"lowest": 9, "highest": 9}),
    "prepared, and gone": asked(Prepare, **PREPARE),
    "an unknown session": asked(Listen, session=SESSION),
    "nothing to abort": asked(Abort, session=SESSION),
    "a question": asked(Query, session=SESSION, vm="web1"),
    "nothing to settle": asked(Settle, vm="web9"),
}
CONTROL: Mapping[str, Case] = {
    "asked": controlled(command=Status),
    "changed": controlled(command=Set, bandwidth=7),
    "too late": controlled(command=Cancel, late=True),
    "gone before the end": controlled(command=Cancel),
    "cancelled": controlled(command=Cancel, stops=True),
    "hung up": controlled(),
    "garbage": controlled(b"\xff" * 4000),
    "an unknown command": controlled(box(_command="Unknown", _ask="1")),
    "malformed": controlled(box(_command="Set", _ask="1", bandwidth="-1")),
}
#: All there are, by their names.
CASES: Mapping[str, Case] = {
    f"{kind}: {name}": case
    for kind, cases in {
        "refused by a destination": AT_A_DESTINATION,
        "refused under TLS": UNDER_TLS,
        "refused by a source": AT_A_SOURCE,
        "an end": ENDS,
        "a session": SESSIONS,
        "a control socket": CONTROL,
    }.items()
    for name, case in cases.items()
}
