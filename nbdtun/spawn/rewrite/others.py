"""All other options: those that stay as they are, those with paths, those that are left out, and those that cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from nbdtun.spawn.command.line import Option
from nbdtun.spawn.rewrite.draft import Draft
from nbdtun.spawn.values import Role

_KEPT = """
    mem-prealloc usb nographic portrait full-screen win2k-hack no-fd-bootchk no-acpi no-hpet singlestep enable-kvm no-reboot no-shutdown
    only-migratable nodefaults semihosting old-param no-user-config async-teardown enable-sync-profile perfmap jitdump
    cpu global k uuid rotate vga g append d dfilter seed watchdog-action echr prom-env
    accel action compat iscsi m mon msg name numa overcommit rtc sandbox semihosting-config smp runas
"""
#: Options that mean the same at every host.
KEPT: Final = frozenset(_KEPT.split())

#: Options for the start at the source, whose destination is started in another way.
LEFT_OUT: Final = frozenset({"S", "incoming", "loadvm", "daemonize", "snapshot"})

#: Options that cannot be had, and why.
REFUSED: Final[Mapping[str, str]] = {
    "audio-help": "QEMU only prints something",
    "add-fd": "it is a descriptor that another program passed to QEMU",
    "chroot": "the paths within it cannot be followed",
    "dump-vmstate": "QEMU only prints something",
    "fsdev": "it shares files of this host with the guest",
    "help": "QEMU only prints something",
    "preconfig": "what was set up by the monitor is not in the command line",
    "qtest": "it is for QEMU's own tests",
    "qtest-log": "it is for QEMU's own tests",
    "version": "QEMU only prints something",
    "virtfs": "it shares files of this host with the guest",
    **dict.fromkeys(("xen-attach", "xen-domid", "xen-domid-restrict"), "it belongs to this host's Xen"),
}

#: Options that are a path.
PATHS: Final[Mapping[str, Role]] = {
    "D": Role.LOG,
    "bios": Role.FIRMWARE,
    "dtb": Role.FIRMWARE,
    "initrd": Role.FIRMWARE,
    "kernel": Role.FIRMWARE,
    "mem-path": Role.MEMORY,
    "option-rom": Role.FIRMWARE,
    "pidfile": Role.PIDFILE,
    "shim": Role.FIRMWARE,
}
#: Names of files that QEMU looks for in its own directories.
_OWN: Final = frozenset({"bios", "option-rom"})

#: Options with keys that are paths.
KEYED: Final[Mapping[str, Mapping[str, Role]]] = {
    "boot": {"splash": Role.FIRMWARE},
    "fw_cfg": {"file": Role.FIRMWARE},
    "plugin": {"file": Role.PRESENT},
    "smbios": {"file": Role.FIRMWARE, "path": Role.FIRMWARE},
    "trace": {"events": Role.PRESENT, "file": Role.LOG},
}
_CERTIFICATES: Final = ("x509-key-file", "x509-cert-file", "x509-cacert-file", "x509-dh-key-file")
_SOUND: Final = frozenset({"none", "spice", "wav"})
_USB: Final = frozenset({"tablet", "mouse", "keyboard", "wacom-tablet"})
VNC_BASE: Final = 5900


def path(draft: Draft, option: Option) -> Option:
    """An option that is a path."""
    value = option.value or ""
    if option.name in _OWN and "/" not in value:
        return option
    return Option(option.name, draft.place(value, PATHS[option.name]))


def keyed(draft: Draft, option: Option) -> Option:
    """An option with keys that are paths."""
    return option.with_(draft.placed(option.params, KEYED[option.name]))


def vnc(draft: Draft, option: Option) -> Option:
    """A VNC server: a socket, or a display's port."""
    params = option.params
    target = params.get("vnc")
    if target.startswith("unix:"):
        return option.with_(params.set("vnc", f"unix:{draft.place(target.removeprefix('unix:'), Role.SOCKET)}"))
    host, colon, display = target.rpartition(":")
    if colon and display.isdigit() and not params.is_on("reverse") and "to" not in params:
        draft.listen(host, str(VNC_BASE + int(display)))
    return option


def spice(draft: Draft, option: Option) -> Option:
    """A SPICE server."""
    params = draft.placed(
        option.params, {"x509-dir": Role.DIRECTORY, **dict.fromkeys(_CERTIFICATES, Role.PRESENT), "rendernode": Role.ACCESS}
    )
    if params.is_on("unix"):
        return option.with_(draft.placed(params, {"addr": Role.SOCKET}))
    for key in ("port", "tls-port"):
        draft.listen(params.get("addr"), params.get(key))
    return option.with_(params)


def display(draft: Draft, option: Option) -> Option:
    """A display: only those that need no desktop."""
    params = draft.placed(option.params, {"rendernode": Role.ACCESS})
    if params.get("type") == "vnc" or "vnc" in params:
        draft.refuse("vnc within -display is not known to nbdtun", "use -vnc")
    elif params.get("type") not in ("none", "egl-headless"):
        draft.warn("not there: a destination has no desktop; its display is none")
        return Option("display", "none")
    draft.strict(params, ("rendernode",))
    return option.with_(params)


def sound(draft: Draft, option: Option) -> Option:
    """A sound backend: only those that need no sound card."""
    params = option.params
    if params.get("driver") not in _SOUND:
        draft.refuse(f"{params.get('driver')} plays at this host", f"change it: --set {option.name}.{params.get('id', 'ID')}.driver=none")
    return option.with_(draft.placed(params, {"path": Role.LOG}))


def tpm(draft: Draft, option: Option) -> Option:
    """A TPM: one that an emulator has, behind its character device."""
    if option.params.get("type") != "emulator":
        draft.refuse("it is this host's TPM")
    return option


def usb(draft: Draft, option: Option) -> Option:
    """``-usbdevice``."""
    if option.value not in _USB:
        draft.refuse(f"{option.value} is a device of this host, or not known to nbdtun")
    return option


def run_with(draft: Draft, option: Option) -> Option:
    """``-run-with``: how QEMU's process runs."""
    if "chroot" in option.params:
        draft.refuse(REFUSED["chroot"])
    return option


def tables(draft: Draft, option: Option) -> Option:
    """``-acpitable``: a list of files with colons."""
    params = option.params
    for key in ("file", "data"):
        files = params.get(key).split(":") if key in params else []
        if files:
            params = params.set(key, ":".join(draft.place(file, Role.FIRMWARE) for file in files))
    return option.with_(params)


def counting(draft: Draft, option: Option) -> Option:
    """``-icount``."""
    if "rr" in option.params:
        draft.refuse("a recorded run stays at this host")
    return option


def directory(draft: Draft, option: Option) -> Option:
    """``-L``: QEMU ignores one that is not there."""
    whole = draft.whole(option.value or "")
    return Option("L", draft.answers.far(whole))


def debugger(draft: Draft, option: Option) -> Option:
    """``-s``."""
    draft.listen("", "1234")
    return option


Rule = Callable[[Draft, Option], Option]

RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(PATHS, path),
    **dict.fromkeys(KEYED, keyed),
    "L": directory,
    "acpitable": tables,
    "audio": sound,
    "audiodev": sound,
    "display": display,
    "icount": counting,
    "run-with": run_with,
    "s": debugger,
    "spice": spice,
    "tpmdev": tpm,
    "usbdevice": usb,
    "vnc": vnc,
}
