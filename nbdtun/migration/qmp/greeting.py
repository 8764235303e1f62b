"""
The first bytes of a socket that is said to be a QMP monitor: many others are near it, and are given by mistake.

QEMU facts (7.2 and 10.0): a QMP monitor greets with a JSON object. ``-qmp-pretty`` writes each object over several lines, of which the last
is a ``}`` alone. The monitor for humans, VNC and NBD greet with words of their own. A serial port and a guest agent say nothing, and nor
does a monitor that another client holds. So nothing is sent before the greeting: a guest may be listening.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from typing import Final

from qemu.qmp import Message, QMPClient

from nbdtun.errors import MonitorError, printable

#: The most bytes of one message that is written over many lines.
MAX_MESSAGE = 16 << 20
PEEKED = 64
_SHOWN = 32

#: The first bytes of services that are no QMP monitor.
STRANGERS: Final = (
    (b"QEMU ", "it is a monitor for humans (-monitor)"),
    (b"RFB ", "it is a VNC display"),
    (b"NBDMAGIC", "it is an NBD server"),
    (b"SSH-", "it is an SSH server"),
    (b"HTTP/", "it is an HTTP server"),
)
_REMEDY = "give the path of a -qmp socket"


async def require_qmp(sock: socket.socket, path: str) -> None:
    """
    Wait for the first bytes of ``sock``, which is at ``path``, and leave them there.

    :raise MonitorError: they are not those of a QMP monitor; the text says what they are.
    """
    first = await _peek(sock)
    if first and not first.lstrip().startswith(b"{"):
        raise MonitorError(f"{path}: {_called(first)}, not a QMP monitor", _REMEDY)


def _called(first: bytes) -> str:
    known = next((what for begins, what in STRANGERS if first.startswith(begins)), "")
    return known or f"it begins with {printable(repr(first[:_SHOWN].decode(errors='replace')))}"


async def _peek(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _once, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
    with suppress(OSError):  # it was closed again: the greeting is waited for in vain
        return sock.recv(PEEKED, socket.MSG_PEEK)
    return b""


def _once(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class Client(QMPClient):
    """
    A client that also understands ``-qmp-pretty``, and writes messages out for its log only if somebody reads that.

    qemu.qmp 0.0.6 writes every message out, over several lines, before it asks whether its log is wanted. Python's json does so without its
    C code: that would be most of the time that reading a machine takes.
    """

    def _cb_outbound(self, msg: Message) -> Message:
        return super()._cb_outbound(msg) if self.logger.isEnabledFor(logging.DEBUG) else msg

    def _cb_inbound(self, msg: Message) -> Message:
        return super()._cb_inbound(msg) if self.logger.isEnabledFor(logging.DEBUG) else msg

    async def _readline(self) -> bytes:
        """One message, although it is on many lines."""
        lines = [await super()._readline()]
        if lines[0].strip() != b"{":
            return lines[0]
        size = len(lines[0])
        while lines[-1].rstrip() != b"}":
            lines.append(await super()._readline())
            size += len(lines[-1])
            if size > MAX_MESSAGE:
                raise EOFError
        return b"".join(lines)
