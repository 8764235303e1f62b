"""
Each module ``nbdtun/x/y.py`` has a twin of tests, ``tests/x/test_y.py``; these have none, and why.

Packages' own ``__init__`` and ``__main__`` need none.
"""

from __future__ import annotations

from typing import Final

WITHOUT_TWIN: Final = {
    "nbdtun.tunnel.settings": "values without rules of their own",
}
