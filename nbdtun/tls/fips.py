"""FIPS mode: whether this system wants all cryptography done by its validated module, which is the system's OpenSSL."""

from __future__ import annotations

from pathlib import Path

_KERNEL = Path("/proc/sys/crypto/fips_enabled")


def fips_mode() -> bool:
    """Whether the kernel or OpenSSL says so."""
    try:
        if _KERNEL.read_text().strip() == "1":
            return True
    except OSError:
        pass
    try:
        from _hashlib import get_fips_mode  # CPython's own question to OpenSSL (EVP_default_properties_is_fips_enabled(3))
    except ImportError:
        return False
    return bool(get_fips_mode())
