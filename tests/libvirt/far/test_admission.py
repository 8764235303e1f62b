from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.errors import NotMigratable
from nbdtun.libvirt.far.admission import Rules
from tests.libvirt.far.stage import xml


def refused(
    text: str, *paths: str, rules: Rules | None = None, pools: tuple[str, ...] = (), owner: tuple[int, int] | None = None
) -> list[str]:
    return [
        finding.what.split()[0 if finding.what.startswith("/") else 3] for finding in (rules or Rules()).judge(text, paths, pools, owner)
    ]


def disk(path: str) -> str:
    return xml(devices=f"<disk type='file'><driver name='qemu' type='raw'/><source file='{path}'/><target dev='vda'/></disk>")


@pytest.mark.parametrize(
    "path", ["/etc/shadow", "/var/lib/libvirt/qemu/domain-1-db1/monitor.sock", "/usr/share/../../etc/shadow", "/dev/sda"]
)
def test_a_file_of_the_host_is_no_disk(path: str) -> None:
    assert refused(disk(path)) == [path]


@pytest.mark.parametrize("path", ["/var/lib/libvirt/images/a", "/pool/a", "/more/deep/a"])
def test_pools_and_directories_that_were_named_are_admitted(path: str) -> None:
    assert refused(disk(path), rules=Rules(roots=("/more/",)), pools=("/pool",)) == []
    assert refused(disk("/pools/a"), pools=("/pool",)) == ["/pools/a"]


def test_what_is_only_read_may_be_the_hosts_own() -> None:
    loader = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/CODE.fd</loader>"
    assert refused(xml(firmware=loader)) == []
    assert refused(xml(firmware=loader.replace("/usr/share", "/etc"))) == ["/etc/OVMF/CODE.fd"]


@pytest.mark.parametrize("path", ["/usr/share/OVMF/CODE.fd", "/usr/bin/qemu-system-x86_64", "/usr/lib/a"])
def test_but_nothing_of_it_may_be_written(path: str) -> None:
    """libvirtd would truncate the file of a serial line as root, and give a disk to QEMU's user."""
    assert refused(disk(path)) == [path]
    assert refused(xml(devices=f"<serial type='file'><source path='{path}'/></serial>")) == [path]
    assert refused(xml(), path) == [path]


def test_a_link_leads_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/etc")
    assert refused(disk(f"{tmp_path}/out/shadow"), rules=Rules(roots=(f"{tmp_path}",))) == [f"{tmp_path}/out/shadow"]


def test_paths_beside_the_xml_count(tmp_path: Path) -> None:
    assert refused(xml(), "/etc/cron.d/x", "/var/lib/libvirt/images/a") == ["/etc/cron.d/x"]


def test_another_user_for_qemu_is_refused() -> None:
    label = "<seclabel type='static' model='dac' relabel='yes'><label>+{0}:+{0}</label></seclabel>"
    assert refused(xml(end=label.format(0)), owner=(64055, 64055)) == ["seclabel:dac:static:+0:+0,"]
    assert refused(xml(end=label.format(64055)), owner=(64055, 64055)) == []


def test_a_disk_must_have_a_whole_path() -> None:
    assert refused(disk("etc/shadow")) == ["file:etc/shadow,"]


def test_the_user_who_came_by_ssh_may_use_all_that_is_hers() -> None:
    assert refused(disk("/data/a"), rules=Rules(anywhere=True)) == []
    with pytest.raises(NotMigratable, match="a device of its host"):
        refused(xml(devices="<hostdev type='usb'/>"), rules=Rules(anywhere=True))
