"""Who makes the TLS records of an end, and the line that its log has about it."""

from __future__ import annotations

from nbdtun.config import TunnelSettings
from nbdtun.tls import ktls
from nbdtun.tls.fips import fips_mode
from nbdtun.tunnel.settings import Records


def in_force(wanted: Records) -> Records:
    """``wanted``, but OpenSSL in FIPS mode: the batched records' ciphers are not those of the system's validated module."""
    return Records.LIBRARY if fips_mode() else wanted


def explain(wanted: Records) -> str:
    """One line for the log."""
    if in_force(wanted) is Records.BATCHED:
        return "TLS records: batched"
    why = "FIPS mode is on" if wanted is Records.BATCHED else ktls.explain()
    return f"TLS records: by OpenSSL ({why})"


def fixed(settings: TunnelSettings) -> str:
    """Why the links of these settings cannot go on in another process; empty if they can."""
    if settings.encrypted and in_force(settings.records) is Records.LIBRARY:
        because = "FIPS mode is on" if fips_mode() else "--records library"
        return f"its TLS records are made by OpenSSL ({because}), and links cannot be passed to another process"
    return ""


def hindrance(settings: TunnelSettings) -> tuple[str, str] | None:
    """The same as the reason why a destination has no workers, with the remedy."""
    remedy = "leave out --workers" if fips_mode() else "leave out one of the two"
    return (reason, remedy) if (reason := fixed(settings)) else None
