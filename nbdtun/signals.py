"""The signals that end a process in good order."""

from __future__ import annotations

import signal
from typing import Final

ENDING: Final = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
"""Ctrl-C, a service manager's, and that of a terminal which is closed."""
