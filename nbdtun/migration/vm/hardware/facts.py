"""
The properties of a device that a guest can see, or that the loading of QEMU's stream depends on.

QEMU facts. ``virtio_load`` (``hw/virtio/virtio.c``) refuses features that the guest has negotiated and the device here lacks; rings of
another length or number do not load. ``get_pci_config_device`` (``hw/pci/pci.c``) refuses a configuration space with other capabilities:
a number of vectors, a header type. A block size that changes under a guest makes it read the wrong sectors. Paths, backends, caches and
threads belong to the host, and are ignored. A NIC's ``mac`` and a serial port's ``name`` travel in the stream, and the stream's are used.

A vmgenid's ``guid`` does not: the destination writes its own into the guest's memory, and the guest takes itself for a copy (a domain
controller goes into recovery). What firmware has told the guest at its boot, and would tell otherwise at the next, is not in the stream
either: whether it may sleep, and how devices are plugged in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Properties that must be equal.
EQUAL = frozenset(
    {
        *("vectors", "num-queues", "num_queues", "queue-size", "virtqueue_size", "rx_queue_size", "tx_queue_size", "max_ports"),
        *("disable-legacy", "disable-modern", "page-per-vq", "modern-pio-notify", "multifunction", "host_mtu"),
        *("logical_block_size", "physical_block_size", "serial", "wwn", "port_wwn", "port_index", "model", "vendor", "product", "ver"),
        *("device_id", "removable", "dpofua", "scsi_version"),
        *("size", "node", "slot", "memdev", "chassis", "irq", "p2", "p3", "intrs", "slots", "streams"),
        *("vgamem_mb", "vram_size_mb", "ram_size_mb", "max_outputs"),
        *("guid", "ioport", "msi", "ats", "aer"),
        *("max_ioqpairs", "msix_qsize", "cmb_size_mb", "mdts"),
        *("aw-bits", "caching-mode", "intremap", "eim", "device-iotlb", "x-scalable-mode"),
        *("disable_s3", "disable_s4", "s4_val", "noreboot", "memory-hotplug-support"),
        *("acpi-pci-hotplug-with-bridge-support", "acpi-root-pci-hotplug"),
    }
)
#: Properties of a PCIe port that are in its configuration space: QEMU refuses another one, after all was copied.
PORT = frozenset(
    {
        *("port", "hotplug", "x-speed", "x-width", "power_controller_present", "disable-acs"),
        *("io-reserve", "mem-reserve", "bus-reserve", "pref32-reserve", "pref64-reserve"),
    }
)
#: Properties whose difference is a warning: those that differ only until the stream has arrived, and hints for the guest's speed.
TOLD = frozenset(
    {
        *("mac", "name"),
        *("rotation_rate", "min_io_size", "opt_io_size", "discard_granularity", "max_io_size", "max_unmap_size"),
        *("max-discard-sectors", "max-write-zeroes-sectors"),
    }
)
#: The boolean properties of a virtio device are features, except these.
_NO_FEATURE = frozenset(
    {
        *("realized", "hotplugged", "hotpluggable", "ioeventfd", "share-rw", "request-merging", "vhostforce"),
        *("use-started", "use-disabled-flag", "migrate-extra"),
    }
)


def is_virtio(kind: str) -> bool:
    """Whether it is the virtio device itself, behind its PCI device."""
    return (kind.startswith("virtio-") and kind.endswith("-device")) or (kind.startswith("vhost-") and not re.search("-(pci|ccw)", kind))


def wanted(kind: str, properties: Mapping[str, str]) -> frozenset[str]:
    """The properties to compare of a device of this kind."""
    facts = (EQUAL | TOLD | (PORT if "chassis" in properties else frozenset())) & properties.keys()
    if is_virtio(kind):
        facts |= {name for name, of in properties.items() if of == "bool" and name not in _NO_FEATURE and not name.startswith("x-")}
    return facts
