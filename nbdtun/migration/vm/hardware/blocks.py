"""
The blocks of RAM and ROM, from ``x-query-ramblock``: a table for people, whose columns are not a stable interface.

QEMU facts (``ram_load`` in ``migration/ram.c``): a block is identified by its name. Loading fails if a block is missing here, or has
another size and cannot be resized. A block that is only here is left as it is. 7.2 has the columns name, page size, offset, used and
total, 10.0 has two more. A block's name has no spaces.
"""

from __future__ import annotations

import re

from nbdtun.migration.vm.hardware.model import Block

MAX_BLOCKS = 4096
_ROW = re.compile(r"^\s*(\S+)\s+\d+ [KMGT]?i?B\s+0x[0-9a-fA-F]+\s+0x([0-9a-fA-F]{1,16})\s+0x([0-9a-fA-F]{1,16})\b")


def parse(text: str) -> tuple[Block, ...]:
    """The blocks of the table; lines that are not rows are skipped."""
    rows = [_ROW.match(line) for line in text.splitlines()[:MAX_BLOCKS]]
    return tuple(sorted((Block(row[1], int(row[2], 16), int(row[3], 16)) for row in rows if row), key=lambda block: block.name))
