"""
On the path of a daemon or a command, this makes it one of a later release, which speaks versions 1 to 3 of everything.

It has features that the present release does not know, tells more in every message, list and document, and sends frames of new kinds. With
``NBDTUN_LATER=2`` it has given up version 1.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.protocols import amp

from nbdtun import versions

versions.Speaks.__init__.__defaults__ = (int(os.environ["NBDTUN_LATER"]), 3, frozenset({"colour", "ghosts"}))

from nbdtun.migration.vm.hardware import wire  # noqa: E402  # now that it is of a later release
from nbdtun.service.control.commands import Report  # noqa: E402
from nbdtun.tunnel.channels import link  # noqa: E402
from nbdtun.tunnel.protocol.frames import HEADER, MAX_EXTENSION, Kind, encode  # noqa: E402

MORE = {"x-later": {"how": ["many"]}}
serialize, plain, report = amp.AmpBox.serialize, wire._plain, Report.toString


def tells_more(box: amp.AmpBox) -> bytes:
    """Every box, also those of lists."""
    told: bytes = serialize(amp.AmpBox({**box, b"x-later": b"\xff\x00"}))
    return told


def says_more(kind: Kind, offset: int, payload: bytes = b"") -> bytes:
    """Every acknowledgement and answer of a link, and behind it two frames of new kinds."""
    return encode(kind, offset, payload) + HEADER.pack(128, 0, 7) + HEADER.pack(239, MAX_EXTENSION, 7) + bytes(MAX_EXTENSION)


def reports_more(self: Report, told: Any) -> bytes:
    """Every report, and every object in it."""
    return report(self, {name: value | MORE if isinstance(value, dict) else value for name, value in told.items()} | MORE)


amp.AmpBox.serialize = tells_more  # type: ignore[method-assign]
wire._plain = lambda hardware: plain(hardware) | MORE
Report.toString = reports_more  # type: ignore[method-assign, assignment]
link.encode = says_more  # type: ignore[attr-defined]
