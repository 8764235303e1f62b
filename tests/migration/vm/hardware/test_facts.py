"""What is asked of a device, of the properties that QEMU 10.0 has."""

from __future__ import annotations

import pytest

from nbdtun.migration.vm.hardware.facts import EQUAL, TOLD, is_virtio, wanted


def typed(**names: str) -> dict[str, str]:
    """Properties by their types; a link or an enumeration is called so."""
    return {name: of for of, each in names.items() for name in each.split()}


HOSTS = typed(
    bool="realized hotplugged hotpluggable share-rw ioeventfd",
    str="netdev drive",
    int32="bootindex",
    link="parent_bus iothread",
)
PCI = typed(
    bool="disable-modern page-per-vq ats multifunction migrate-extra x-pcie-pm-init",
    str="romfile addr legacy-addr failover_pair_id",
    uint32="vectors rombar",
    OnOffAuto="disable-legacy",
)
NET = typed(
    bool="mq guest_tso4 use-started x-mtu-bypass-backend",
    str="mac tx duplex",
    uint16="host_mtu rx_queue_size",
    int32="speed",
    list="ebpf-rss-fds",
)
BLK = typed(
    bool="discard config-wce request-merging seg-max-adjust",
    str="serial",
    uint16="num-queues queue-size",
    size="logical_block_size",
    OnOffAuto="write-cache",
)


@pytest.mark.parametrize(
    ("kind", "properties", "names"),
    [
        ("virtio-net-pci", PCI, {"ats", "vectors", "disable-legacy", "disable-modern", "page-per-vq", "multifunction"}),
        ("virtio-net-device", NET, {"mac", "mq", "guest_tso4", "host_mtu", "rx_queue_size"}),
        (
            *("virtio-blk-device", BLK),
            {"num-queues", "queue-size", "serial", "logical_block_size", "discard", "config-wce", "seg-max-adjust"},
        ),
        (
            *(
                "scsi-hd",
                typed(str="serial vendor product ver device_id drive", uint64="wwn port_wwn", uint16="rotation_rate", bool="removable"),
            ),
            {"serial", "vendor", "product", "ver", "device_id", "wwn", "port_wwn", "rotation_rate", "removable"},
        ),
        ("pc-dimm", typed(link="memdev", uint32="node", int32="slot", uint64="size addr"), {"memdev", "node", "slot", "size"}),
        ("virtserialport", typed(uint32="nr", str="name chardev"), {"name"}),
        ("ide-hd", typed(str="serial model ver", uint64="wwn", uint32="unit"), {"serial", "wwn", "model", "ver"}),
    ],
)
def test_what_is_asked_of_a_device(kind: str, properties: dict[str, str], names: set[str]) -> None:
    """Nothing of the host's, whatever has it; of a DIMM all but its address, which is its place."""
    assert wanted(kind, HOSTS | properties) == names


def test_only_a_virtio_device_has_features() -> None:
    """``virtio-net-pci`` passes the properties of the device behind it on; asked there, each would be compared twice."""
    features = {"mq": "bool", "guest_tso4": "bool"}
    assert wanted("virtio-net-device", features) == features.keys()
    assert wanted("virtio-net-pci", features) == wanted("e1000", features) == frozenset()


def test_a_feature_is_true_or_false() -> None:
    assert wanted("virtio-net-device", {"mq": "OnOffAuto", "rss": "str", "hash": "bool"}) == {"hash"}


@pytest.mark.parametrize(
    ("kind", "virtio"),
    [
        *((kind, True) for kind in ("virtio-net-device", "virtio-scsi-device", "vhost-vsock-device", "vhost-user-fs-device")),
        *((kind, False) for kind in ("virtio-net-pci", "vhost-vdpa-device-pci", "usb-device", "virtio-pci-bus", "e1000")),
    ],
)
def test_which_half_is_the_device_itself(kind: str, virtio: bool) -> None:
    assert is_virtio(kind) is virtio


def test_nothing_is_both_equal_and_told() -> None:
    assert not EQUAL & TOLD


def test_a_ports_number_is_one_only_of_a_bridge() -> None:
    kinds = {"port": "uint8", "hotplug": "bool"}
    assert wanted("pcie-root-port", {**kinds, "chassis": "uint8"}) == {"port", "hotplug", "chassis"}
    assert wanted("usb-tablet", kinds) == frozenset()
