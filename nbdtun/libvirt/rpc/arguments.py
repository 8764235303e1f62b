"""The arguments of the calls that are looked into (libvirt's src/remote/remote_protocol.x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen

from nbdtun.errors import ProtocolViolation
from nbdtun.libvirt.rpc.xdr import MAX_STRING, Unpacker

#: REMOTE_DOMAIN_MIGRATE_PARAM_LIST_MAX
MAX_PARAMETERS: Final = 64
#: VIR_TYPED_PARAM_FIELD_LENGTH, without the byte that ends it.
MAX_FIELD: Final = 79
#: REMOTE_MIGRATE_COOKIE_MAX
MAX_COOKIE: Final = MAX_STRING

Value = int | float | str


@frozen
class Opening:
    """The arguments of CONNECT_OPEN."""

    name: str | None
    flags: int


@frozen
class Migrating:
    """
    The arguments of DOMAIN_MIGRATE_PREPARE3_PARAMS, and of DOMAIN_MIGRATE_FINISH3_PARAMS but for its last one.

    ``parameters`` are in their order; a name may be there more than once. ``cookie`` is XML, or empty.
    """

    parameters: tuple[tuple[str, Value], ...]
    cookie: str
    flags: int


def opening(body: bytes) -> Opening:
    """
    Return what CONNECT_OPEN has.

    :raise ProtocolViolation: it is malformed.
    """
    data = Unpacker(body)
    found = Opening(data.optional_string(), data.uint())
    data.end()
    return found


def migrating(body: bytes, *, finish: bool) -> Migrating:
    """
    Return what DOMAIN_MIGRATE_PREPARE3_PARAMS has, or DOMAIN_MIGRATE_FINISH3_PARAMS with ``finish``.

    :raise ProtocolViolation: it is malformed.
    """
    data = Unpacker(body)
    count = data.uint()
    if count > MAX_PARAMETERS:
        raise ProtocolViolation(f"{count} parameters of a migration; at most {MAX_PARAMETERS} are possible")
    parameters = tuple((data.string(MAX_FIELD), _value(data)) for _ in range(count))
    cookie = _cookie(data.opaque(MAX_COOKIE))
    flags = data.uint()
    if finish:
        data.sint()  # whether it is cancelled
    data.end()
    return Migrating(parameters, cookie, flags)


def _value(data: Unpacker) -> Value:
    """A ``remote_typed_param_value``, by its type's number (include/libvirt/libvirt-common.h)."""
    kinds: dict[int, Callable[[], Value]] = {
        1: data.sint,
        2: data.uint,
        3: data.hyper,
        4: data.uhyper,
        5: data.double,
        6: data.sint,  # a truth value
        7: data.string,
    }
    kind = data.sint()
    if kind not in kinds:
        raise ProtocolViolation(f"a parameter of a migration of unknown type {kind}")
    return kinds[kind]()


def _cookie(data: bytes) -> str:
    """libvirt reads a cookie as C does: up to its zero byte, which must be the last one."""
    if data and data.find(b"\0") != len(data) - 1:
        raise ProtocolViolation("a migration's cookie without a zero byte at its end, or with another one")
    try:
        return data[:-1].decode()
    except UnicodeDecodeError:
        raise ProtocolViolation("a migration's cookie that is not UTF-8") from None
