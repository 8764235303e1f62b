"""
Character devices: ``-chardev``, and the words behind ``-serial``, ``-parallel``, ``-monitor``, ``-qmp``, ``-debugcon`` and ``-gdb``.

A socket on which QEMU listens does not wait for its first client: QEMU at the destination would wait with it, before its monitor answers.
"""

from __future__ import annotations

from typing import Final

from nbdtun.spawn.command.character import Character
from nbdtun.spawn.command.line import Option
from nbdtun.spawn.command.params import Params
from nbdtun.spawn.rewrite.draft import Draft
from nbdtun.spawn.values import Role

#: Backends that need nothing from the host.
_FREE: Final = frozenset(
    {
        "null",
        "none",
        "vc",
        "ringbuf",
        "memory",
        "msmouse",
        "wctablet",
        "braille",
        "testdev",
        "spicevmc",
        "spiceport",
        "qemu-vdagent",
        "chardev",
    }
)
_HOST: Final = frozenset({"serial", "tty", "parallel", "parport"})

#: Options with a character device in one word.
WORDS: Final = frozenset({"serial", "parallel", "monitor", "qmp", "qmp-pretty", "debugcon", "gdb"})


def chardev(draft: Draft, option: Option) -> Option:
    """Rewrite a ``-chardev``."""
    params = option.params
    return option.with_(_backend(draft, params.get("backend"), params))


def word(draft: Draft, option: Option) -> Option:
    """Rewrite an option with a character device in one word."""
    text = option.value or ""
    if option.name == "gdb" and text.removeprefix("tcp:").removeprefix(":").isdigit():
        draft.listen("", text.rpartition(":")[2])
        return option
    if text.startswith("{") or (option.name in ("serial", "parallel") and text.startswith("/dev/")):
        draft.refuse(f"{text} is a device of this host")
        return option
    character = Character.parse(text)
    if character.address and _listens(character.params):
        draft.listen(*map(str, character.address))
    return Option(option.name, str(character.with_(_backend(draft, character.backend, character.params))))


def _listens(params: Params) -> bool:
    return params.is_on("server")


def _backend(draft: Draft, backend: str, params: Params) -> Params:
    if "logfile" in params:
        params = params.set("logfile", draft.place(params.get("logfile"), _log(params, "logappend")))
    if backend == "socket":
        params = _socket(draft, params)
    elif backend == "udp":
        draft.listen(params.get("localaddr"), params.get("localport"), udp=True)
    elif backend == "file":
        params = draft.placed(params, {"path": _log(params, "append"), "input-path": Role.PRESENT})
    elif backend == "pty":
        params = draft.placed(params, {"path": Role.PIDFILE})
    elif backend == "stdio":
        draft.warn("nobody sits at the destination's standard input; its output goes to a log")
    elif backend == "pipe":
        draft.refuse("another program of this host is at the pipe's other end", "use a socket")
    elif backend in _HOST:
        draft.refuse(f"{params.get('path')} is a device of this host")
    elif backend not in _FREE:
        draft.refuse(f"the character device {backend!r} is not known to nbdtun")
    draft.strict(params, ("path", "logfile", "input-path"))
    return params


def _log(params: Params, append: str) -> Role:
    return Role.APPENDED if params.is_on(append) else Role.LOG


def _socket(draft: Draft, params: Params) -> Params:
    """A socket of either kind: on which QEMU listens, or to whose server it connects."""
    if _listens(params):
        if "path" in params and not params.is_on("abstract"):
            params = params.set("path", draft.place(params.get("path"), Role.SOCKET))
        draft.listen(params.get("host"), params.get("port"))
        return params.set("wait", "off")
    if "path" in params and not params.is_on("abstract"):
        return params.set("path", draft.place(params.get("path"), Role.SERVED))
    return params
