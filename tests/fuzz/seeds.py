"""What honest peers say, for fuzzing to begin with."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping

from nbdtun.migration.control.commands import ERRORS
from nbdtun.migration.progress import DiskProgress, Phase, Progress
from nbdtun.migration.qmp.schema import EVENTS
from nbdtun.tunnel.protocol.frames import Kind, encode, encode_reset
from tests.fuzz.targets import ANSWER, SESSION
from tests.libvirt.rpc import stage as libvirt
from tests.migration.stage.left import entry as left
from tests.migration.stage.machines import PACKED
from tests.tls.stage.certificates import certificate
from tests.tunnel.stage.stranger import AGREED, OFFER, box

#: As the first byte of a piece stands for its length, which cuts where one would not expect it, these go as they are too.
OPEN = box(_command="OpenChannel", _ask="1", **OFFER, channel=b"i" * 16, target="disk", window=65536, urgent="True")
RESUME = box(_command="ResumeChannel", _ask="1", **OFFER, channel=b"i" * 16, received=0)
CONVERSATION = (
    encode(Kind.ACK, 0)
    + encode(Kind.DATA, 0, b"12345")
    + encode(Kind.PING, 7)
    + encode(Kind.ACK, 15)
    + encode(Kind.FIN, 5)
    + encode_reset("reset", "no more")
    + encode(Kind.BYE, 0)
)
#: A whole window in one frame, most of which goes through a pipe.
LONG = encode(Kind.DATA, 0, bytes(1 << 17)) + encode(Kind.FIN, 1 << 17)
PROGRESS = Progress(1.0, 2.5, Phase.MIRROR, (DiskProgress("vda", 10, 5),), eta=1.5).as_json()
REPORT = json.dumps({"kind": "migration", "name": "web1", "pid": 7, "progress": PROGRESS, "bandwidth": 7, "downtime": 0.3}).encode()
_FIELDS = {"node": "vda", "device": "", "qdev": "vda-dev", "size": "1048576", "format": "raw", "place": "pci:05.0", "serial": ""}
_FIELDS |= {"image": "", "cache": "writeback"}
DISK = b"".join(len(part).to_bytes(2, "big") + part.encode() for pair in _FIELDS.items() for part in pair)
_BITMAP = {"disk": "0", "name": "backup0", "persistent": "True"}
BITMAP = b"".join(len(part).to_bytes(2, "big") + part.encode() for pair in _BITMAP.items() for part in pair)
PREPARE = box(
    _command="Prepare",
    _ask="1",
    **OFFER,
    session=SESSION,
    vm="web1",
    hardware=PACKED,
    disks=DISK + b"\0\0",
    bitmaps=BITMAP + b"\0\0",
    allowed=b"",
)
COMMANDS = [
    box(_command="Listen", _ask="2", session=SESSION, bitmaps=BITMAP + b"\0\0"),
    box(_command="Finish", _ask="3", session=SESSION, run="True", settle="2000"),
    box(_command="Query", _ask="4", session=SESSION, vm="web1"),
    box(_command="Abort", _ask="5", session=SESSION),
    box(_command="Settle", _ask="6", vm="web1"),
    box(_command="Check", _ask="7", **OFFER, vm="web1", machine="q35", memory=1 << 27, disks=""),
]
UNKNOWN = box(_error="1", _error_code="whatever", _error_description="no\x1b[2J\nmore")
COMPLETE = box(_error="1", _error_code="complete", _error_description="over")
TOLD = [
    box(_answer="1", **AGREED, target=f"nbd.{SESSION}", findings=b""),
    box(_answer="5", state="aborted", machine="running", reason="why"),
    *(box(_error="3", _error_code=code, _error_description="why") for code in ERRORS.values()),
    UNKNOWN,
    box(_command="Trouble", session=SESSION, code="mirror", reason="no space"),
]
QEMU = {
    "query-block": [
        {"device": "", "qdev": "vda", "inserted": {"node-name": "d0", "ro": False, "drv": "raw", "image": {"virtual-size": 1 << 20}}}
    ],
    "query-migrate": {
        "status": "active",
        "ram": {"transferred": 1, "remaining": 2},
        "socket-address": [{"type": "unix", "path": "/run/ram.sock"}],
        "blocked-reasons": ["because"],
    },
    "query-status": {"status": "inmigrate"},
    "query-version": {"qemu": {"major": 7, "minor": 2, "micro": 22}},
    "query-hotpluggable-cpus": [{"props": {"core-id": 0}, "qom-path": "/machine/unattached/device[0]"}],
    "query-jobs": [{"id": "nbdtun-0"}],
    "query-block-jobs": [{"device": "nbdtun-0", "len": 7, "offset": 1}],
    "query-block-exports": [{"id": "nbdtun-0"}],
    "query-dirty-rate": {"status": "measured", "dirty-rate": 7},
    "query-kvm": {"enabled": False},
    "query-memdev": [{"size": 1 << 27}],
    "query-named-block-nodes": [
        {
            "node-name": "d0",
            "drv": "qcow2",
            "image": {"snapshots": [{"id": "1", "name": "old"}], "format-specific": {"data": {"compat": "1.1"}}},
            "dirty-bitmaps": [{"name": "b", "persistent": True, "recording": False, "granularity": 65536}],
        }
    ],
    "query-memory-size-summary": {"base-memory": 1 << 27},
    "query-blockstats": [{"stats": {"wr_operations": 0}}],
    "query-migrate-capabilities": [{"capability": "events", "state": False}],
    "query-migrate-parameters": {"max-bandwidth": 1},
    "query-commands": [{"name": "migrate-incoming"}],
    "query-yank": [{"type": "migration"}],
    "query-tpm": [{"options": {"type": "passthrough"}}],
    "query-uuid": {"UUID": "5e1f9b7c-2d3a-4b6f-8c9d-0a1b2c3d4e5f"},
    "x-query-ramblock": {"human-readable-text": "pc.ram    4 KiB  0x0000000000000000 0x0000000008000000 0x0000000008000000"},
    "qom-list": [{"name": "parent_bus", "type": "link<bus>"}, {"name": "lm", "type": "bool"}],
    "qom-get": "pc-q35-7.2-machine",
    "query-cpus-fast": [{"cpu-index": 0}],
    "query-dump": {"status": "none"},
    "query-memory-devices": [{"type": "dimm", "data": {"id": "m1", "size": 1 << 27}}],
    "x-debug-query-block-graph": {"nodes": [{"id": 1, "name": "d0"}, {"id": 2, "name": "f0"}], "edges": [{"parent": 1, "child": 2}]},
}

SEEDS: Mapping[str, list[bytes]] = {
    "opening": [OPEN, RESUME, OPEN + CONVERSATION, box(_command="StartTLS", _ask="1"), box(_answer="1"), b"GET / HTTP/1.1\r\n\r\n"],
    "before_tls": [b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"GET / HTTP/1.1\r\n\r\n", OPEN, b"\x15\x03\x03\x00\x02\x02\x28"],
    "frames": [LONG, CONVERSATION, CONVERSATION * 2, encode(Kind.DATA, 0, bytes(1000))],
    "answers": [
        ANSWER,
        ANSWER + CONVERSATION,
        box(_error="1", _error_code="complete", _error_description="over"),
        box(_answer="1"),
        UNKNOWN,
    ],
    "link_of_destination": [CONVERSATION, encode(Kind.BYE, 0), encode_reset("link-lost", "why"), encode(Kind.FIN, 0) + encode(Kind.ACK, 1)],
    "commands": [PREPARE, PREPARE.replace(b"\0\4size", b"\1\4size"), *COMMANDS, PREPARE + b"".join(COMMANDS)],
    "command_answers": [*TOLD, b"".join(TOLD)],
    "qmp": [json.dumps(QEMU).encode(), *(json.dumps({key: value}).encode() for key, value in QEMU.items()), b"[]", b"null"],
    "certificate": [certificate("src1")],
    "with_keys": [bytes([first]) + said for first in (0, 1, 254, 255) for said in (CONVERSATION, LONG, b"\xff" + CONVERSATION)],
    "control_socket": [
        *(box(_command=name, _ask="1") for name in ("Status", "Reload", "Cancel")),
        box(_command="Set", _ask="2", bandwidth=7),
        box(_command="Serve", _ask="4", vms=zlib.compress(b'{"add": ["a=/q"], "remove": []}')),
    ],
    "control_client": [
        *(box(_answer=ask, report=REPORT) for ask in "123"),
        box(_error="1", _error_code="whatever", _error_description="why"),
    ],
    "report": [REPORT, json.dumps(PROGRESS).encode()],
    "journal": [left().text().encode(), b"{}"],
    "events": [json.dumps({name: {"device": "nbdtun-0", "id": "nbdtun-0", "status": "active"}}).encode() for name in EVENTS]
    + [json.dumps({"MIGRATE": "no\x1b[2J\nmore", "STOP": {}, "RESUME": {}, "SHUTDOWN": {}}).encode()],
    "endpoint": [b"tcp:dest:10810", b"unix:/run/a.sock:mode=660", b"tcp:10810:interface=::1", b"unix:address=/x/y-mode=z.sock", b"ssl:1"],
    "libvirt_calls": [
        *(message.encode() for message in libvirt.CONVERSATION),
        b"".join(message.encode() for message in libvirt.CONVERSATION),
        libvirt.call(12).encode(),
    ],
    "libvirt_domain": [
        libvirt.domain().encode(),
        libvirt.cookie(libvirt.domain())[:-1],
        b"<!DOCTYPE domain [<!ENTITY a 'b'>]><domain>&a;</domain>",
        libvirt.domain("<hostdev/><q:disk xmlns:q='http://q'/><disk type='network'><source protocol='rbd' name='x'/></disk>").encode(),
    ],
    "pem": [b"\x80", b"\x85\x00\x10x", b"\x01-----BEGIN X509 CRL-----\n"],
}
