"""What libvirt is told to do."""

from __future__ import annotations

from nbdtun.libvirt.near.order import UNLIMITED, Flag, Sockets, order, speed
from nbdtun.migration.settings import MigrationSettings, Strategy

ALWAYS = Flag.LIVE | Flag.PEER2PEER | Flag.ABORT_ON_ERROR
SOCKETS = Sockets("/run/nbdtun/libvirt/x", "session")


def settings(**more: object) -> MigrationSettings:
    return MigrationSettings(vm="web1", **more)  # type: ignore[arg-type]


def test_a_transient_domain_with_disks() -> None:
    told = order(settings(), SOCKETS, ("vda", "vdb"), "<domain/>")
    assert told.uri == "qemu+unix:///session?socket=/run/nbdtun/libvirt/x/libvirt.sock"
    assert told.flags == ALWAYS | Flag.NON_SHARED_DISK | Flag.UNDEFINE_SOURCE
    assert told.parameters == {
        "migrate_uri": "unix:///run/nbdtun/libvirt/x/memory.sock",
        "disks_uri": "unix:///run/nbdtun/libvirt/x/disks.sock",
        "migrate_disks": ["vda", "vdb"],
        "destination_xml": "<domain/>",
    }


def test_without_a_disk_to_copy_none_is() -> None:
    told = order(settings(), SOCKETS, (), "<domain/>")
    assert told.flags == ALWAYS | Flag.UNDEFINE_SOURCE
    assert "migrate_disks" not in told.parameters


def test_a_persistent_domain_stays_one_and_may_be_kept() -> None:
    told = order(settings(keep_source=True), SOCKETS, (), "<domain/>", "<domain persistent=''/>")
    assert told.flags == ALWAYS | Flag.PERSIST_DEST
    assert told.parameters["persistent_xml"] == "<domain persistent=''/>"


def test_measures_that_help_it_converge() -> None:
    converge = frozenset({Strategy.WRITE_BLOCKING, Strategy.AUTO_CONVERGE})
    told = order(settings(converge=converge, bandwidth=5 << 20, connections=4), SOCKETS, ("vda",), "<domain/>")
    assert told.flags & (Flag.SYNCHRONOUS_WRITES | Flag.AUTO_CONVERGE | Flag.PARALLEL) == (
        Flag.SYNCHRONOUS_WRITES | Flag.AUTO_CONVERGE | Flag.PARALLEL
    )
    assert (told.parameters["bandwidth"], told.parameters["parallel.connections"]) == (5, 4)


def test_writes_to_no_disk_need_not_wait() -> None:
    assert not order(settings(converge=frozenset({Strategy.WRITE_BLOCKING})), SOCKETS, (), "").flags & Flag.SYNCHRONOUS_WRITES


def test_bandwidth_is_in_whole_mib_and_never_none() -> None:
    assert [speed(each) for each in (None, 1, 1 << 20, (3 << 20) - 1)] == [UNLIMITED, 1, 1, 2]
