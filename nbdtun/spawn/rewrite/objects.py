"""``-object`` and ``-device``: which of them need something from the host, and which cannot leave it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from nbdtun.spawn.command.line import Option
from nbdtun.spawn.rewrite.draft import Draft
from nbdtun.spawn.values import Role

#: The kinds of objects that can be had at another host, and the keys of their paths.
_FREE: Final = (
    *("authz-list", "authz-pam", "authz-simple", "can-bus", "cryptodev-backend-builtin", "cryptodev-vhost-user"),
    *("filter-buffer", "filter-mirror", "filter-redirector", "filter-replay", "filter-rewriter", "iothread", "main-loop"),
    *("memory-backend-memfd", "memory-backend-ram", "memory-backend-shm", "rng-builtin", "rng-egd", "thread-context"),
    *("throttle-group", "acpi-generic-initiator"),
)
OBJECTS: Final[Mapping[str, Mapping[str, Role]]] = {
    **{kind: {} for kind in _FREE},
    **{f"tls-creds-{kind}": {"dir": Role.DIRECTORY} for kind in ("anon", "psk", "x509")},
    "authz-list-file": {"filename": Role.PRESENT},
    "filter-dump": {"file": Role.LOG},
    "memory-backend-file": {"mem-path": Role.MEMORY},
    "pr-manager-helper": {"path": Role.SERVED},
    "rng-random": {"filename": Role.PRESENT},
    "secret": {"file": Role.PRESENT},
}

#: Devices of the host, and those whose content nothing carries.
_HOST_DEVICES: Final = (
    (re.compile(r"vfio-|x-vfio|vfio-user|igd-|xen|kvm-pci|pci-assign"), "it passes a device of this host through"),
    (re.compile(r"usb-host|virtio-input-host|scsi-block|scsi-generic|ccid-card-emulated|vhost-vdpa"), "it is a device of this host"),
    (
        re.compile(r"vhost-scsi|virtio-9p|usb-mtp|vhost-user-fs|vhost-user-blk|vhost-user-scsi|ivshmem-doorbell"),
        "its content stays at this host",
    ),
)
#: Keys of devices with paths.
_FIRMWARE: Final = ("romfile", "file")
#: Keys whose values may begin with a slash, and are no paths.
_NO_PATHS: Final = ("bus", "serial", "iommu-platform", "loadparm", "label", "name", "qom-path")


def object_(draft: Draft, option: Option) -> Option:
    """Rewrite an ``-object``."""
    params = option.params
    kind = params.get("qom-type")
    if kind not in OBJECTS:
        draft.refuse(f"the object {kind!r} is bound to this host, or not known to nbdtun")
        return option
    params = draft.placed(params, OBJECTS[kind])
    draft.strict(params, tuple(OBJECTS[kind]))
    return option.with_(params)


def device(draft: Draft, option: Option) -> Option:
    """Rewrite a ``-device``."""
    params = option.params
    driver = params.get("driver")
    bound = next((why for pattern, why in _HOST_DEVICES if pattern.match(driver)), "")
    if bound:
        draft.refuse(f"{driver}: {bound}", "unplug it before the migration")
        return option
    draft.devices.append(driver)
    files = [key for key in _FIRMWARE if "/" in params.get(key)]  # a name alone is a file of QEMU's own
    params = draft.placed(params, dict.fromkeys(files, Role.FIRMWARE))
    draft.strict(params, (*files, *_NO_PATHS))
    return option.with_(params)
