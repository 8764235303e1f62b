"""Command lines of QEMUs, as people write them."""

from __future__ import annotations

LINES = {
    "drive": "-machine q35 -drive if=virtio,file=D/a.qcow2",
    "hda": "-hda D/b.raw -cdrom D/cd.iso -vga std",
    "blockdev": """
        -blockdev driver=file,node-name=base-file,filename=D/base.qcow2,read-only=on
        -blockdev driver=qcow2,node-name=base,file=base-file,read-only=on
        -blockdev driver=file,node-name=top-file,filename=D/top.qcow2 -blockdev driver=qcow2,node-name=top,file=top-file,backing=base
        -device virtio-blk-pci,drive=top,id=disk0
        -blockdev {"driver":"raw","node-name":"b","file":{"driver":"file","filename":"D/b.raw"}}
        -device {"driver":"virtio-blk-pci","drive":"b"}
    """,
    "firmware": """
        -machine q35 -drive if=pflash,unit=0,format=raw,readonly=on,file=D/code.fd -drive if=pflash,unit=1,format=raw,file=D/vars.fd
        -drive if=virtio,file=D/a.qcow2,format=qcow2
    """,
    "nics": """
        -nic user,model=virtio-net-pci -nic user,model=e1000 -netdev user,id=net2 -device virtio-net-pci,netdev=net2,id=nic2
        -netdev socket,id=net3,mcast=230.0.0.1:PORT,localaddr=127.0.0.1 -device rtl8139,netdev=net3
        -drive if=virtio,file=D/a.qcow2
    """,
    "smp": "-M q35,usb=off -cpu Nehalem -smp 4,sockets=2,cores=2,threads=1 -drive file=D/b.raw,format=raw,if=virtio,cache=none",
    "memory": """
        -object memory-backend-memfd,id=m0,size=32M,share=on -object memory-backend-file,id=m1,size=32M,mem-path=D/ram
        -numa node,memdev=m0 -numa node,memdev=m1 -drive if=virtio,file=D/a.qcow2
    """,
    "tablet": """
        -machine pc -usb -device usb-tablet -device qemu-xhci,id=xhci -device usb-kbd,bus=xhci.0 -vga std -vnc unix:D/vnc -hda D/a.qcow2
    """,
    "agent": """
        -device virtio-serial-pci -chardev socket,id=qga,path=D/qga.sock,server=on,wait=off
        -device virtserialport,chardev=qga,name=org.qemu.guest_agent.0 -monitor unix:D/hmp,server,nowait -drive if=virtio,file=D/a.qcow2
    """,
    "iothreads": """
        -object iothread,id=t0 -object iothread,id=t1 -drive if=none,id=d0,file=D/a.qcow2,format=qcow2,aio=threads
        -device virtio-blk-pci,drive=d0,iothread=t0 -drive if=none,id=d1,file=D/b.raw,format=raw
        -device virtio-scsi-pci,iothread=t1,id=s -device scsi-hd,drive=d1,bus=s.0
    """,
    "thread": "-object iothread,id=t0 -drive if=none,id=d0,file=D/a.qcow2 -device virtio-blk-pci,drive=d0,iothread=t0",
    "luns": """
        -device virtio-scsi-pci,id=s -drive if=none,id=l0,file=D/a.qcow2 -device scsi-hd,drive=l0,bus=s.0,channel=0,scsi-id=1,lun=0
        -drive if=none,id=l1,file=D/b.raw,format=raw -device scsi-hd,drive=l1,bus=s.0,channel=0,scsi-id=1,lun=1
        -drive if=none,id=cd,media=cdrom,file=D/cd.iso,readonly=on -device scsi-cd,drive=cd,bus=s.0,scsi-id=2
    """,
}
"""D is the source's directory, PORT a free port. A TPM is not here: test_spawn has it, with a second one by swtpm."""
