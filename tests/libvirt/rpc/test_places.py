"""What a domain's XML names of its host: all of it, by whatever element or attribute."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import NotMigratable
from nbdtun.libvirt.rpc.places import places, read_only
from tests.libvirt.rpc.stage import DISK, domain

#: What the domain of the stage names without any more.
USUAL = {"/usr/bin/qemu-system-x86_64", DISK, f"format:qcow2:{DISK}"}

NOTHING_MORE = [
    "<controller type='pci' index='0' model='pcie-root'/>",
    "<controller type='nvme' index='0'/>",
    "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>",
    "<console type='pty' tty='/dev/pts/3'><source path='/dev/pts/3'/><target type='serial' port='0'/></console>",
    "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>",
    "<graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1'><listen type='address' address='127.0.0.1'/></graphics>",
    "<smartcard mode='passthrough' type='spicevmc'/>",
    "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>",
    "<video><model type='virtio' heads='1'/></video>",
    "<memballoon model='virtio'/>",
    "<disk type='file'><source/><seclabel model='dac' relabel='no'/></disk>",
]
NAMED = [
    ("<disk type='block'><source dev='/dev/sdb'/></disk>", {"/dev/sdb", "format:raw:/dev/sdb"}),
    ("<disk type='file'><source file='relative'/></disk>", {"file:relative", "format:raw:relative"}),
    ("<disk type='block'><source dev='sdb'/></disk>", {"disk:sdb", "format:raw:sdb"}),
    ("<disk type='dir'><source dir='/etc'/></disk>", {"/etc", "format:raw:/etc"}),
    (
        "<disk type='file'><driver type='raw'/><source file='/a'/><backingStore type='file'><format type='qcow2'/><source file='/b'/>"
        "</backingStore><mirror type='file'><format type='raw'/><source file='/c'/></mirror></disk>",
        {"/a", "/b", "/c", "format:raw:/a", "format:qcow2:/b", "format:raw:/c"},
    ),
    ("<disk type='volume'><source pool='default' volume='web1'/></disk>", {"pool:default", "volume:web1", "format:raw:web1"}),
    (
        "<disk type='network'><source protocol='rbd' name='pool/web1'><host name='ceph1' port='6789'/>"
        "<auth username='a'><secret type='ceph' uuid='12'/></auth></source></disk>",
        {"disk:pool/web1", "name:pool/web1", "protocol:rbd:pool/web1", "format:raw:pool/web1", "address:ceph1:6789", "secret:12"},
    ),
    ("<disk type='vhostuser'><source type='unix' path='/run/v'/></disk>", {"/run/v", "format:raw:/run/v"}),
    ("<disk type='block' device='lun' rawio='yes' sgio='unfiltered'/>", {"rawio:yes", "sgio:unfiltered"}),
    (
        "<disk type='file'><source file='/a'><seclabel model='dac' relabel='yes'><label>root</label></seclabel></source></disk>",
        {"/a", "format:raw:/a", "seclabel:dac::root"},
    ),
    (
        "<interface type='network'><source network='default' bridge='virbr0' portid='1'/><target dev='vnet7'/></interface>",
        {"interface:network:default"},
    ),
    ("<interface type='bridge'><source bridge='br0'/><vlan><tag id='42'/></vlan></interface>", {"interface:bridge:br0:vlan=42"}),
    ("<interface type='direct'><source dev='eth0' mode='bridge'/><target dev='macvtap3'/></interface>", {"interface:direct:eth0"}),
    ("<interface type='user'/>", {"interface:user:"}),
    ("<interface type='ethernet'><target dev='tap9' managed='no'/></interface>", {"interface:ethernet:", "tap:tap9"}),
    ("<interface type='ethernet'><target dev='vnet9' managed='no'/></interface>", {"interface:ethernet:", "tap:vnet9"}),
    ("<interface type='ethernet'><script path='/tmp/evil'/></interface>", {"interface:ethernet:", "/tmp/evil"}),
    ("<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>", {"interface:vdpa:/dev/vhost-vdpa-0", "/dev/vhost-vdpa-0"}),
    (
        "<interface type='udp'><source address='10.0.0.1' port='1'><local address='10.0.0.2' port='2'/></source></interface>",
        {"interface:udp:", "address:10.0.0.1:1", "address:10.0.0.2:2"},
    ),
    (
        "<interface type='user'><backend type='passt' logFile='/x'/><portForward proto='tcp' dev='eth0' address='::'/></interface>",
        {"interface:user:", "/x", "portForward:eth0:::"},
    ),
    ("<serial type='file'><source path='/a'/><log file='/b' append='on'/></serial>", {"/a", "/b"}),
    ("<serial type='pty'><source path='/etc/shadow'/></serial>", {"/etc/shadow"}),
    ("<serial type='file'><source path='/dev/pts/3'/></serial>", {"/dev/pts/3"}),
    ("<serial type='dev'><source path='/dev/ttyS0'/></serial>", {"/dev/ttyS0"}),
    ("<serial type='tcp'><source mode='connect' host='10.0.0.1' service='22'/></serial>", {"address:10.0.0.1:22"}),
    ("<channel type='unix'><source mode='bind' path='/run/a'/></channel>", {"/run/a"}),
    ("<filesystem type='mount'><source dir='/home'/><target dir='home'/></filesystem>", {"/home", "dir:home"}),
    ("<filesystem type='mount'><driver type='virtiofs'/><binary path='/bin/v'/><source socket='/s'/></filesystem>", {"/bin/v", "/s"}),
    ("<input type='passthrough' bus='virtio'><source evdev='/dev/input/event1'/></input>", {"/dev/input/event1"}),
    ("<graphics type='vnc' socket='/s'><listen type='socket' socket='/t'/></graphics>", {"/s", "/t"}),
    ("<graphics type='egl-headless'><gl rendernode='/dev/dri/renderD128'/></graphics>", {"/dev/dri/renderD128"}),
    ("<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>", {"/dev/tpm0"}),
    ("<tpm><backend type='emulator'><source type='file' path='/t'/><encryption secret='12'/></backend></tpm>", {"/t", "secret:12"}),
    ("<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>", {"/dev/urandom"}),
    ("<rng model='virtio'><backend model='egd' type='udp'><source mode='bind' service='1'/></backend></rng>", {"address::1"}),
    ("<shmem name='my'><server path='/s'/></shmem>", {"shmem:my", "/s"}),
    ("<memory model='nvdimm'><source><path>/dev/dax0.0</path></source></memory>", {"/dev/dax0.0"}),
    ("<smartcard mode='host'/>", {"smartcard:host"}),
    (
        "<smartcard mode='host-certificates'><certificate>c1</certificate><database>/n</database></smartcard>",
        {"smartcard:host-certificates", "certificate:c1", "/n"},
    ),
    ("<lease><lockspace>l</lockspace><key>k</key><target path='/p'/></lease>", {"lockspace:l", "key:k", "/p"}),
    ("<audio id='1' type='oss'><input dev='/dev/dsp'/><output dev='dsp1'/></audio>", {"/dev/dsp", "input:/dev/dsp", "output:dsp1"}),
    ("<redirdev bus='usb' type='tcp'><source mode='connect' host='h' service='1'/></redirdev>", {"address:h:1"}),
]
AROUND = [
    ("<seclabel type='dynamic' model='dac' relabel='yes'><label>+1:+1</label><imagelabel>+1:+1</imagelabel></seclabel>", set()),
    ("<seclabel type='static' model='dac' relabel='yes'><label>+0:+0</label></seclabel>", {"seclabel:dac:static:+0:+0"}),
    ("<seclabel type='dynamic' model='dac'><baselabel>+0:+0</baselabel></seclabel>", {"seclabel:dac:dynamic:+0:+0"}),
    ("<seclabel type='none' model='selinux'/>", {"seclabel:selinux:none"}),
    ("<sysinfo type='smbios'><system><entry name='family'>a/b</entry></system></sysinfo>", set()),
    ("<sysinfo type='fwcfg'><entry name='opt/x' file='/etc/shadow'/></sysinfo>", {"/etc/shadow", "name:opt/x"}),
    (
        "<os><loader readonly='yes' type='pflash'>/usr/share/OVMF/CODE.fd</loader><nvram template='/t'>/v</nvram><kernel>/k</kernel>"
        "<initrd>i</initrd><acpi><table type='slic'>/a</table></acpi></os>",
        {"/usr/share/OVMF/CODE.fd", "/t", "/v", "/k", "initrd:i", "/a"},
    ),
    ("<blkiotune><device><path>/dev/sda</path><weight>1</weight></device></blkiotune>", {"/dev/sda"}),
]


def named_by(xml: str) -> set[str]:
    """Without the uses."""
    return {place for place in places(xml) if not place.startswith("use:")}


def uses_of(xml: str) -> set[str]:
    return {place.removeprefix("use:") for place in places(xml) - places(domain()) if place.startswith("use:")}


@pytest.mark.parametrize("device", NOTHING_MORE)
def test_a_device_that_names_nothing(device: str) -> None:
    assert named_by(domain(device)) == USUAL


@pytest.mark.parametrize(("device", "named"), NAMED)
def test_a_device_that_names_something(device: str, named: set[str]) -> None:
    assert named_by(domain(device)) == USUAL | named


@pytest.mark.parametrize(("element", "named"), AROUND)
def test_what_is_beside_the_devices(element: str, named: set[str]) -> None:
    assert named_by(domain(more=element)) == USUAL | named


@pytest.mark.parametrize(
    ("devices", "used"),
    [
        ("<serial type='file'><source path='/a'/></serial>", "devices/serial(type=file)/source@path:/a"),
        ("<serial type='unix'><source mode='bind' path='/a'/></serial>", "devices/serial(type=unix)/source(mode=bind)@path:/a"),
        (
            "<disk type='file' device='cdrom'><source file='/a'/><readonly/></disk>",
            "devices/disk(type=file,device=cdrom,read-only)/source@file:/a",
        ),
        ("<disk type='file' device='disk'><source file='/a'/></disk>", "devices/disk(type=file,device=disk)/source@file:/a"),
        ("<rng><backend model='random'>/a</backend></rng>", "devices/rng/backend:/a"),
    ],
)
def test_a_file_is_agreed_on_for_one_use(devices: str, used: str) -> None:
    assert uses_of(domain(devices)) == {used}


def test_no_value_looks_like_a_use() -> None:
    devices = "<serial type='x/rom@file:/a'><source path='/a'/></serial><interface type='user'><rom file='/a'/></interface>"
    assert "devices/serial(type=x?rom?file??a)/source@path:/a" in uses_of(domain(devices))
    assert "/a" not in read_only(domain(devices))


def test_what_keeps_a_guest_within_its_network_belongs_to_it() -> None:
    source = "<source network='n' portgroup='p'/><vlan><tag id='1'/><tag id='2'/></vlan><filterref filter='f'/><port isolated='yes'/>"
    interface = f"<interface type='network' trustGuestRxFilters='yes'>{source}</interface>"
    assert "interface:network:n:portgroup=p:trusted:vlan=1:vlan=2:filter=f:isolated=yes" in places(domain(interface))


@pytest.mark.parametrize(
    "more",
    [
        "<os><loader readonly='yes' type='pflash'>/x</loader></os>",
        "<os><loader readonly='yes' secure='no' type='pflash'>/x</loader></os>",
        "<os><loader type='rom'>/x</loader></os>",
        "<os><loader>/x</loader></os>",
        "<os><nvram template='/x'>/v</nvram></os>",
        "<devices><filesystem type='mount'><binary path='/x'/></filesystem></devices>",
        "<devices><interface type='user'><rom file='/x'/></interface></devices>",
        "<devices><interface type='ethernet'><backend tap='/x'/></interface></devices>",
        "<devices><rng><backend model='random'>/x</backend></rng></devices>",
    ],
)
def test_what_is_only_read(more: str) -> None:
    assert read_only(domain(more=more)) == {"/usr/bin/qemu-system-x86_64", "/x"}
    written = "<serial type='file'><source path='/x'/></serial>"
    assert read_only(domain(written, more=more)) == {"/usr/bin/qemu-system-x86_64"}


@pytest.mark.parametrize(
    "more",
    [
        "<os><loader readonly='no' type='pflash'>/x</loader></os>",
        "<os><loader type='pflash'>/x</loader></os>",
        "<os><nvram>/x</nvram><kernel>/x</kernel></os>",
        "<devices><disk type='file' device='cdrom'><source file='/x'/><readonly/></disk></devices>",
        "<devices><interface type='ethernet'><script path='/x'/></interface></devices>",
    ],
)
def test_what_is_written_or_given_away(more: str) -> None:
    assert read_only(domain(more=more)) == {"/usr/bin/qemu-system-x86_64"}


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        (domain("<hostdev mode='subsystem' type='pci'/>"), "has <hostdev>, a device of its host; detach it before the migration"),
        (domain("<controller><hostdev/></controller>"), "has <hostdev>, a device of its host"),
        (domain("<interface type='hostdev'/>"), "has <interface>, a device of its host"),
        (domain("<disk type='nvme'><source type='pci'/></disk>"), "has <disk>, a device of its host"),
        (domain("<disk type='file'><backingStore type='nvme'/></disk>"), "has <backingStore>, a device of its host"),
        (domain("<novelty/>"), "has <novelty>, which nbdtun does not let through; remove it from the domain"),
        (domain(more="<bootloader>/bin/sh</bootloader>"), "has <bootloader>, which nbdtun does not let through"),
        (domain(more="<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'/>"), "has <commandline>, which"),
        (domain(more="<q:override xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'/>"), "has <override>, which"),
        (domain(more="<q:capabilities xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'/>"), "has <capabilities>, which"),
        (domain(more="<q:deprecation xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'/>"), "has <deprecation>, which"),
        (domain("<q:disk xmlns:q='http://q' type='file'/>"), "has <disk>, which"),
        (domain("<disk type='file'><metadata><q:a xmlns:q='http://q'/></metadata></disk>"), "has <a>, which"),
        (domain("<disk q:type='file' xmlns:q='http://q'/>"), "has <disk>, which"),
        (domain(kind="lxc"), "not that of a domain of QEMU's"),
        ("<network/>", "not that of a domain of QEMU's"),
        ("<domain", "malformed"),
    ],
)
def test_what_no_migration_brings_along(xml: str, why: str) -> None:
    with pytest.raises(NotMigratable, match=why):
        places(xml)


_NAMES = st.sampled_from(["disk", "source", "interface", "serial", "path", "name", "type", "driver", "hostdev", "seclabel", "label", "x"])
_ATTRIBUTES = st.dictionaries(
    st.sampled_from(["type", "file", "dev", "path", "name", "tty", "model"]), st.text("/ab'", max_size=4), max_size=3
)


@st.composite
def elements(draw: st.DrawFn, depth: int = 4) -> str:
    name, attributes = draw(_NAMES), draw(_ATTRIBUTES)
    said = "".join(f' {key}="{value}"' for key, value in attributes.items())
    inner = "".join(draw(st.lists(elements(depth - 1), max_size=2))) if depth else draw(st.text("/ab", max_size=3))
    return f"<{name}{said}>{inner}</{name}>"


@given(elements())
def test_no_path_is_overlooked(element: str) -> None:
    """Wherever it stands among the devices, an absolute path is named."""
    planted = f"<disk type='file'>{element}</disk>".replace("a", "/etc/shadow", 1)
    with suppress(NotMigratable):
        found = places(domain(planted))
        assert "/etc/shadow" not in planted or any("/etc/shadow" in place for place in found)
