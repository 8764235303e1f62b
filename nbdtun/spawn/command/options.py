"""
Every option that QEMU 7.2 to 10.0 knows, for all of its targets, and whether the next word is its value (qemu-options.hx).

An option that is not here is refused: whether the next word belongs to it would be a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_FLAGS = """
    help version mem-prealloc audio-help snapshot usb nographic portrait full-screen win2k-hack no-fd-bootchk no-acpi no-hpet singlestep
    preconfig S s enable-kvm xen-attach xen-domid-restrict no-reboot no-shutdown daemonize only-migratable nodefaults semihosting old-param
    no-user-config async-teardown enable-sync-profile perfmap jitdump
"""
_TEXTS = """
    cpu set global mem-path k uuid fda fdb hda hdb hdc hdd cdrom mtdblock sd usbdevice rotate vga g bios pflash kernel append initrd dtb
    serial parallel monitor qmp qmp-pretty debugcon pidfile gdb d D dfilter seed L xen-domid loadvm option-rom watchdog-action echr incoming
    chroot runas prom-env readconfig qtest qtest-log dump-vmstate shim
"""
_JSON = "audio audiodev blockdev device display netdev object"

#: Options without a value.
FLAGS: Final = frozenset(_FLAGS.split())
#: Options whose value is one text of its own form.
TEXTS: Final = frozenset(_TEXTS.split())
#: Options whose value may be JSON.
JSON: Final = frozenset(_JSON.split())

#: Options whose value is ``key=value,...``, and the key of a first value without one; empty: there is no such key.
KEYED: Final[Mapping[str, str]] = {
    "accel": "accel",
    "action": "",
    "acpitable": "",
    "add-fd": "",
    "audio": "driver",
    "audiodev": "driver",
    "blockdev": "driver",
    "boot": "order",
    "chardev": "backend",
    "compat": "",
    "device": "driver",
    "display": "type",
    "drive": "",
    "fsdev": "fsdriver",
    "fw_cfg": "name",
    "icount": "shift",
    "iscsi": "",
    "m": "size",
    "machine": "type",
    "mon": "chardev",
    "msg": "",
    "name": "guest",
    "net": "type",
    "netdev": "type",
    "nic": "type",
    "numa": "type",
    "object": "qom-type",
    "overcommit": "",
    "plugin": "file",
    "rtc": "base",
    "run-with": "",
    "sandbox": "enable",
    "semihosting-config": "enable",
    "smbios": "",
    "smp": "cpus",
    "spice": "",
    "tpmdev": "type",
    "trace": "enable",
    "virtfs": "fsdriver",
    "vnc": "vnc",
}

#: A name that stands for another one.
SYNONYMS: Final[Mapping[str, str]] = {"M": "machine", "h": "help"}
