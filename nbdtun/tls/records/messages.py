"""
Messages besides data, after the handshake: alerts, and the handshake messages that TLS 1.3 still allows then (RFC 8446, 4.6 and 6).

A server's tickets are skipped, whatever their length: sessions are never resumed. A KeyUpdate is the last message of its record. All else,
post-handshake authentication among it, was not agreed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Content types of records.
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23

# Handshake messages.
_NEW_SESSION_TICKET, _KEY_UPDATE = 4, 24

#: A KeyUpdate that asks for none in return.
KEY_UPDATE: Final = bytes([_KEY_UPDATE, 0, 0, 1, 0])
CLOSE_NOTIFY: Final = bytes([1, 0])

#: The alerts that an end sends or receives after the handshake, by OpenSSL's names for them.
ALERTS: Final[Mapping[int, str]] = {
    0: "CLOSE_NOTIFY",
    10: "UNEXPECTED_MESSAGE",
    20: "BAD_RECORD_MAC",
    22: "RECORD_OVERFLOW",
    40: "HANDSHAKE_FAILURE",
    42: "BAD_CERTIFICATE",
    43: "UNSUPPORTED_CERTIFICATE",
    44: "CERTIFICATE_REVOKED",
    45: "CERTIFICATE_EXPIRED",
    46: "CERTIFICATE_UNKNOWN",
    47: "ILLEGAL_PARAMETER",
    48: "UNKNOWN_CA",
    49: "ACCESS_DENIED",
    50: "DECODE_ERROR",
    51: "DECRYPT_ERROR",
    70: "PROTOCOL_VERSION",
    71: "INSUFFICIENT_SECURITY",
    80: "INTERNAL_ERROR",
    90: "USER_CANCELED",
    109: "MISSING_EXTENSION",
    112: "UNRECOGNIZED_NAME",
    116: "CERTIFICATE_REQUIRED",
    120: "NO_APPLICATION_PROTOCOL",
}
_NUMBERS: Final = {name: number for number, name in ALERTS.items()}


class RecordError(Exception):
    """The other end sent what TLS 1.3 does not allow; ``alert`` is the name of the alert that tells it so."""

    def __init__(self, what: str, alert: str) -> None:
        super().__init__(what)
        self.alert = alert


def fatal(name: str) -> bytes:
    """The alert called ``name``."""
    return bytes([2, _NUMBERS[name]])


def read_alert(payload: bytes) -> str:
    """
    The name of an alert.

    :raise RecordError: it is none.
    """
    if len(payload) != 2:
        raise RecordError(f"an alert of {len(payload)} bytes", "DECODE_ERROR")
    return ALERTS.get(payload[1], f"alert {payload[1]}")


class HandshakeMessages:
    """
    Reads the handshake messages of one direction, in whatever fragments they come.

    Only four bytes of a message are ever kept.
    """

    def __init__(self, header: bytes = b"", skipped: int = 0) -> None:
        self._header = header
        self._skipped = skipped  # bytes of a ticket that are still to come

    @property
    def begun(self) -> tuple[bytes, int]:
        """What has begun of a message: its first bytes, and how many of a ticket are still to come."""
        return self._header, self._skipped

    @property
    def complete(self) -> bool:
        """Whether no message has begun that is not complete; between its records no other content may come (RFC 8446, 5.1)."""
        return not self._header and not self._skipped

    def read(self, payload: memoryview) -> tuple[bool, bool]:
        """
        Read a record's payload; returns whether the sender's key changes after it, and whether the receiver's is to change, too.

        :raise RecordError: it has a message that was not agreed on.
        """
        if not payload:
            raise RecordError("an empty handshake record", "UNEXPECTED_MESSAGE")
        while payload:
            if self._skipped:
                payload = self._skip(payload)
                continue
            missing = 4 - len(self._header)
            self._header += bytes(payload[:missing])
            payload = payload[missing:]
            if len(self._header) < 4:
                break
            kind, size = self._header[0], int.from_bytes(self._header[1:])
            if kind == _KEY_UPDATE:
                return self._key_update(size, payload)
            if kind != _NEW_SESSION_TICKET:
                raise RecordError(f"a handshake message of type {kind} after the handshake", "UNEXPECTED_MESSAGE")
            self._header, self._skipped = b"", size
        return False, False

    def _skip(self, payload: memoryview) -> memoryview:
        count = min(self._skipped, len(payload))
        self._skipped -= count
        return payload[count:]

    def _key_update(self, size: int, payload: memoryview) -> tuple[bool, bool]:
        if size == 1 and not payload:
            return False, False  # its one byte comes with the next record
        if size != 1 or len(payload) != 1:
            raise RecordError("a KeyUpdate that does not end with its record", "UNEXPECTED_MESSAGE")
        if payload[0] > 1:
            raise RecordError(f"a KeyUpdate with the request {payload[0]}", "ILLEGAL_PARAMETER")
        self._header = b""
        return True, payload[0] == 1
