"""A domain's XML is read, and rewritten for another host."""

from __future__ import annotations

import pytest

from nbdtun.errors import NotMigratable
from nbdtun.libvirt.domain import Disk, Domain, flattened, host_uuid, read, rewrite, unused
from nbdtun.spawn.rewrite.answers import Answers, Mapped

UUID = "5a1fd0a4-6f2c-4f0c-9f8b-0123456789ab"
WEB1 = f"""<domain type='kvm'>
  <name>web1</name><uuid>{UUID.upper()}</uuid>
  <metadata><our:owner xmlns:our='urn:owner' our:of="one">/srv/vm/papers</our:owner></metadata>
  <os><loader>/usr/share/OVMF/OVMF_CODE.fd</loader><nvram>/var/lib/libvirt/qemu/nvram/web1.fd</nvram></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/><source file='/srv/vm/web1.qcow2'/><target dev='vda'/>
    </disk>
    <disk type='volume'><driver type='raw'/><source pool='fast' volume='web1-data'/><target dev='vdb'/></disk>
    <disk type='block'><source dev='/dev/vg/web1'/><target dev='vdc'/></disk>
    <disk type='file' device='cdrom'><source file='/srv/iso/debian.iso'/><target dev='sda'/><readonly/></disk>
    <disk type='file' device='cdrom'><target dev='sdb'/></disk>
    <disk type='file'><source file='/srv/vm/cluster.img'/><target dev='vdd'/><shareable/></disk>
    <disk type='network'><source protocol='rbd' name='pool/web1'/><target dev='vde'/></disk>
    <interface type='bridge'><source bridge='br0'/></interface>
    <interface type='network'><source network='default'/></interface>
    <serial type='file'><source path='/srv/vm/console'/></serial>
  </devices>
  <seclabel type='dynamic' model='apparmor'><label>libvirt-web1</label></seclabel>
  <seclabel type='dynamic' model='dac'><label>+64055:+108</label></seclabel>
</domain>"""


def answers(**maps: str) -> Answers:
    return Answers(maps=tuple(Mapped(here.replace("_", "/"), there) for here, there in maps.items()))


def test_a_domain_tells_its_disks_its_nvram_and_its_qemus_user() -> None:
    found = read(WEB1)
    assert (found.name, found.uuid, found.nvram, found.owner) == ("web1", UUID, "/var/lib/libvirt/qemu/nvram/web1.fd", (64055, 108))
    assert found.copied == (
        Disk("vda", "file", "/srv/vm/web1.qcow2", "qcow2"),
        Disk("vdb", "volume", "", "raw", "fast", "web1-data"),
        Disk("vdc", "block", "/dev/vg/web1"),
    )


def test_libvirt_leaves_out_what_both_hosts_see_and_what_nobody_writes() -> None:
    assert [disk.target for disk in read(WEB1).disks if disk.stays] == ["sda", "sdb", "vdd", "vde"]
    assert [disk.target for disk in read(WEB1).disks if disk.read_only] == ["sda", "sdb"]


def test_nvram_may_be_a_source_of_its_own() -> None:
    xml = WEB1.replace("<nvram>/var/lib/libvirt/qemu/nvram/web1.fd</nvram>", "<nvram type='file'><source file='/n.fd'/></nvram>")
    assert read(xml).nvram == "/n.fd"


def test_what_is_no_domain_is_refused() -> None:
    with pytest.raises(NotMigratable, match="cannot be read"):
        read("<domain")
    with pytest.raises(NotMigratable, match="not that of a domain"):
        read("<network><name>default</name></network>")


def test_paths_are_mapped_and_what_is_the_owners_own_is_not() -> None:
    there = rewrite(WEB1, answers(_srv_vm="/data"))
    assert [disk.path for disk in read(there).disks if disk.path.startswith("/data")] == ["/data/web1.qcow2", "/data/cluster.img"]
    assert "/data/console" in there
    assert "/srv/vm/papers" in there
    assert "/srv/iso/debian.iso" in there
    assert """<our:owner xmlns:our="urn:owner" our:of="one">/srv/vm/papers</our:owner>""" in there


def test_names_of_bridges_networks_and_pools_are_mapped() -> None:
    there = rewrite(WEB1, answers(br0="br1", default="lan", fast="slow"))
    assert 'bridge="br1"' in there
    assert 'network="lan"' in there
    assert read(there).disks[1] == Disk("vdb", "volume", "", "raw", "slow", "web1-data")


def test_a_name_is_not_mapped_where_it_is_another_things() -> None:
    assert read(rewrite(WEB1, answers(web1="web2"))) == read(WEB1)


def test_xml_without_changes_is_the_same_text() -> None:
    assert rewrite(WEB1, answers(_opt="/data")) == WEB1


def test_a_map_that_fits_nothing_is_told() -> None:
    assert unused(WEB1, answers(br7="br1", _srv_vm="/data")) == ("br7=br1",)


def test_a_copy_is_whole_and_has_no_backing_files() -> None:
    last = "<backingStore type='block'><source dev='/dev/b'/></backingStore>"
    chain = f"<backingStore type='file'><source file='/srv/vm/base'/>{last}</backingStore>"
    layered = WEB1
    for name in ("vda", "sda"):
        layered = layered.replace(f"<target dev='{name}'/>", f"{chain}<target dev='{name}'/>")
    vda, *_, sda, _, _, _ = read(layered).disks
    assert vda.backing == sda.backing == ("/srv/vm/base", "/dev/b")
    there = read(flattened(layered, ["vda", "vdb"]))
    assert [disk.backing for disk in there.disks if disk.backing] == [sda.backing]
    assert flattened(WEB1, ["vda"]) == WEB1


def test_a_domain_without_labels_has_no_owner() -> None:
    assert read(f"<domain><name>a</name><uuid>{UUID}</uuid></domain>") == Domain("a", UUID)


def test_a_host_tells_its_uuid() -> None:
    assert host_uuid(f"<capabilities><host><uuid>{UUID}</uuid></host></capabilities>") == UUID
    assert host_uuid("") == ""
