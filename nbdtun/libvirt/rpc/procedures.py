"""
The procedures of libvirt's RPC that a peer-to-peer migration uses. All others are refused.

Recorded by ``python -m lab.libvirt_calls`` between two libvirtds of 9.0 (Debian 12), and between two of 11.3 (Debian 13), which made the
same calls: a live migration with ``--p2p --copy-storage-all --persistent --undefinesource``. The longest message of each, with one disk:

===================================================== ==================== =====================
procedure                                             source's call        destination's answer
===================================================== ==================== =====================
remote 66, AUTH_LIST                                  28 bytes             36 bytes
remote 60, CONNECT_SUPPORTS_FEATURE (4, 6, 10, 13-15) 32 bytes             32 bytes
remote 1, CONNECT_OPEN                                56 bytes             28 bytes
remote 360, CONNECT_REGISTER_CLOSE_CALLBACK           28 bytes             28 bytes
remote 303, DOMAIN_MIGRATE_PREPARE3_PARAMS            3660 bytes           880 bytes
remote 306, DOMAIN_MIGRATE_FINISH3_PARAMS             6320 bytes           1216 bytes
remote 361, CONNECT_UNREGISTER_CLOSE_CALLBACK         28 bytes             28 bytes
remote 2, CONNECT_CLOSE                               28 bytes             28 bytes
keepalive 1, PING; keepalive 2, PONG                  28 bytes             28 bytes
===================================================== ==================== =====================

libvirt's source (9.0.0 and 11.3.0) has the same calls: ``qemuMigrationSrcPerformPeer2Peer3`` in src/qemu/qemu_migration.c, ``doRemoteOpen``
in src/remote/remote_driver.c, numbers in src/remote/remote_protocol.x. It has two more messages:

- remote 70, AUTH_POLKIT, where AUTH_LIST's answer asks for it. It has no arguments. polkit judges the process that has connected, which is
  nbdtun's own.
- remote 362, CONNECT_EVENT_CONNECTION_CLOSED, an event of the destination's, which 360 has asked for.
"""

from __future__ import annotations

import enum
from typing import Final

#: Programs, and the one version of each (src/remote/remote_protocol.x, src/rpc/virkeepaliveprotocol.x).
REMOTE: Final = 0x20008086
KEEPALIVE: Final = 0x6B656570
VERSION: Final = 1

PING: Final = 1
PONG: Final = 2


class Procedure(enum.IntEnum):
    """Procedures of the program :data:`REMOTE` that the source's libvirtd calls."""

    CONNECT_OPEN = 1
    CONNECT_CLOSE = 2
    CONNECT_SUPPORTS_FEATURE = 60
    AUTH_LIST = 66
    AUTH_POLKIT = 70
    DOMAIN_MIGRATE_PREPARE3_PARAMS = 303
    DOMAIN_MIGRATE_FINISH3_PARAMS = 306
    CONNECT_REGISTER_CLOSE_CALLBACK = 360
    CONNECT_UNREGISTER_CLOSE_CALLBACK = 361


#: CONNECT_EVENT_CONNECTION_CLOSED: the destination's driver has gone.
CLOSED_EVENT: Final = 362
