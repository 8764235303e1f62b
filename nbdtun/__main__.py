"""The ``nbdtun`` command as a process, which ``python -m nbdtun`` is too."""

from __future__ import annotations

import signal
from typing import NoReturn


def script() -> NoReturn:
    """
    Run the command, and exit.

    It takes a tenth of a second to load. Ctrl-C ends the process at once until then, where Python would print a traceback.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # in the background it may be ignored
    if usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from nbdtun import cli

    if usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.script()


if __name__ == "__main__":
    script()
