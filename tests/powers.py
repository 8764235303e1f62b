"""Root without the power to read, write and reach everything: what is forbidden to others is then forbidden to it, too."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

DAC_OVERRIDE = 1
DAC_READ_SEARCH = 2
_VERSION_3 = 0x20080522


@contextmanager
def ordinary() -> Iterator[None]:
    """This thread may do meanwhile what the owner of its files may; see capset(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    powers = (ctypes.c_uint32 * 6)()  # twice: effective, permitted, inheritable

    def change(function: str) -> None:
        if getattr(libc, function)(header, powers):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), function)

    change("capget")
    before = powers[0]
    powers[0] &= ~(1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH)
    change("capset")
    try:
        yield
    finally:
        powers[0] = before
        change("capset")
