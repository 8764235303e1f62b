"""What the far end's QEMU must know."""

from __future__ import annotations

from nbdtun.spawn.values import Machine, Path, Role
from tests.spawn.rewrite.stage import line, planned, refused


def test_a_machine_is_described() -> None:
    made = planned("-cpu Nehalem,+aes,-vmx -device e1000", kvm=True)
    assert made.machine == Machine("pc-q35-7.2", "Nehalem", ("+aes", "-vmx"), True, ("e1000",))
    assert Path("/dev/kvm", Role.ACCESS, "-accel kvm") in made.paths


def test_threads_of_disks() -> None:
    assert planned("-object iothread,id=t -device virtio-scsi-pci,iothread=t").machine.iothreads
    assert not planned("-object iothread,id=t -device virtio-scsi-pci -device virtio-blk,iothread=t").machine.iothreads


def test_without_a_model() -> None:
    assert planned("").machine == Machine("pc-q35-7.2")


def test_firmware_by_its_path() -> None:
    made = planned("-machine q35,firmware=/srv/ovmf.fd,memory-backend=m")
    assert line(made) == "-machine pc-q35-7.2,firmware=/srv/ovmf.fd,memory-backend=m"
    assert made.paths[0].role is Role.FIRMWARE


def test_an_encrypted_machine() -> None:
    assert refused(planned("-machine q35,confidential-guest-support=sev0")) == [
        "-machine q35: confidential-guest-support cannot be had there"
    ]
