"""
Each module ``nbdtun/x/y.py`` has a twin of tests, ``tests/x/test_y.py``; these have none, and why.

Packages' own ``__init__`` and ``__main__`` need none.
"""

from __future__ import annotations

from typing import Final

WITHOUT_TWIN: Final = {
    "nbdtun.migration.destination.life": "a table of states: test_states has it whole, destination/test_session each of its ways",
    "nbdtun.migration.qmp.life": "a table of states: test_states has it whole, qmp/test_monitor each of its ways",
    "nbdtun.migration.source.life": "a table of states: test_states has it whole, source/test_migration each of its ways",
    "nbdtun.migration.supervision.supervision": "three values in one, which have twins each; test_sampler makes it",
    "nbdtun.reach.maker": "an interface without code",
    "nbdtun.spawn.near.survey": "asks QEMU and reads its process: integration/test_spawn has it with real QEMUs",
    "nbdtun.spawn.rewrite.source": "values without rules of their own",
    "nbdtun.tunnel.channels.life": "a table of states: test_states has it whole, channels/test_channel each of its ways",
    "nbdtun.tunnel.channels.link_user": "an interface without code",
    "nbdtun.tunnel.destination.opening": "the server's half of a dialogue: destination/test_server and test_strangers have all of it",
    "nbdtun.tunnel.settings": "values without rules of their own",
}
