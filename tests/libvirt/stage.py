"""Values that cross between the two ends of a migration of libvirt's."""

from __future__ import annotations

from nbdtun.libvirt.values import Image, Wanted

SESSION = "0123456789abcdef" * 2
UUID = "11111111-2222-3333-4444-555555555555"
MIB = 1 << 20

IMAGE = Image("vda", "/data/web1.qcow2", "qcow2", 64 * MIB, 200_704, compat="1.1", cluster=65_536, owner="libvirt-qemu", mode=0o600)
WANTED = Wanted("web1", UUID, "<domain type='qemu'><name>web1</name></domain>", (IMAGE,), host="h", hostname="here")
