from __future__ import annotations

import pytest

from nbdtun.errors import NotMigratable
from nbdtun.libvirt.far.needs import Secret, read
from tests.libvirt.far.stage import xml
from tests.libvirt.stage import UUID

DEVICES = """
<interface type='network'><source network='default' portid='x' bridge='virbr0'/></interface>
<interface type='network'><source network='default'/></interface>
<interface type='bridge'><source bridge='br0'/></interface>
<interface type='bridge'><source bridge='ovsbr'/><virtualport type='openvswitch'/></interface>
<interface type='direct'><source dev='eth1' mode='bridge'/></interface>
<disk type='file' device='disk'><source file='/data/a'/><target dev='vda'/></disk>
<disk type='file' device='cdrom'><source file='/iso/a'/><target dev='sda'/><readonly/></disk>
<disk type='file' device='cdrom'><source file='/iso/b' startupPolicy='optional'/><target dev='sdb'/></disk>
<disk type='network' device='disk'><source protocol='rbd' name='p/v'/><auth username='u'><secret type='ceph' usage='key'/></auth>
  <target dev='vdb'/></disk>
<disk type='file' device='disk'><source file='/data/c'><encryption format='luks'><secret type='passphrase' uuid='s1'/></encryption></source>
  <target dev='vdc'/></disk>
<tpm model='tpm-crb'><backend type='emulator' version='2.0'><encryption secret='s2'/></backend></tpm>
"""


def test_what_a_domain_needs() -> None:
    needs = read(xml(devices=DEVICES, cpu="<cpu mode='custom'><model>qemu64</model></cpu>"), frozenset({"vda", "vdc"}))
    assert (needs.name, needs.uuid, needs.kind, needs.arch, needs.machine) == ("web1", UUID, "kvm", "x86_64", "pc-q35-7.2")
    assert (needs.emulator, needs.cpu, needs.mode) == (
        "/usr/bin/qemu-system-x86_64",
        '<cpu mode="custom"><model>qemu64</model></cpu>\n  ',
        "custom",
    )
    assert (needs.networks, needs.bridges, needs.switches, needs.links) == (("default",), ("br0",), ("ovsbr",), ("eth1",))
    assert needs.files == (("/iso/a", "disk sda"),)
    assert needs.secrets == (Secret("disk vdb", "", (2, "key")), Secret("disk vdc", "s1"), Secret("the TPM", "s2"))
    assert needs.keys == {"vdc": "s1"}
    assert needs.tpms == ("emulator",)


@pytest.mark.parametrize(
    "nvram",
    [
        "<nvram template='/usr/share/VARS.fd'>/nvram/web1.fd</nvram>",
        "<nvram template='/usr/share/VARS.fd' type='file'><source file='/nvram/web1.fd'/></nvram>",
    ],
)
def test_its_firmware(nvram: str) -> None:
    needs = read(xml(os=" firmware='efi'", firmware=f"<loader readonly='yes' type='pflash'> /usr/share/CODE.fd </loader>{nvram}"))
    assert (needs.loader, needs.nvram, needs.template, needs.automatic) == (
        "/usr/share/CODE.fd",
        "/nvram/web1.fd",
        "/usr/share/VARS.fd",
        True,
    )
    plain = read(xml(firmware="<kernel>/boot/k</kernel><initrd>/boot/i</initrd>"))
    assert (plain.loader, plain.nvram, plain.automatic) == ("", "", False)
    assert plain.files == (("/boot/k", "kernel"), ("/boot/i", "initrd"))


@pytest.mark.parametrize(
    ("label", "owner"),
    [
        ("<seclabel type='static' model='dac'><label>+64055:+106</label></seclabel>", (64055, 106)),
        ("<seclabel type='dynamic' model='dac'><label>+64055:+106</label></seclabel>", None),
        ("<seclabel type='static' model='dac'><label>qemu:kvm</label></seclabel>", None),
        ("<seclabel type='static' model='selinux'><label>1:2</label></seclabel>", None),
    ],
)
def test_the_user_that_it_wants(label: str, owner: tuple[int, int] | None) -> None:
    assert read(xml(end=label)).owner == owner


@pytest.mark.parametrize("text", ["", "web1", "<domain", "<network/>", "<!DOCTYPE domain []><domain/>"])
def test_what_is_no_domain(text: str) -> None:
    with pytest.raises(NotMigratable):
        read(text)
