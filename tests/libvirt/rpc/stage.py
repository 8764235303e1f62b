"""What an honest source's libvirtd says, as recorded by lab/libvirt_calls.py, and what both ends have agreed on."""

from __future__ import annotations

import struct
from uuid import UUID

from nbdtun.libvirt.rpc.grant import Grant
from nbdtun.libvirt.rpc.messages import Kind, Message
from nbdtun.libvirt.rpc.places import places
from nbdtun.libvirt.rpc.procedures import KEEPALIVE, PING, PONG, REMOTE, VERSION, Procedure
from nbdtun.libvirt.rpc.xdr import opaque, optional_string, string, uint

UUID_TEXT = "16321959-8501-41de-90ac-67ebedcf5058"
DISK = "/var/lib/libvirt/images/web1.qcow2"
MEMORY = "unix:///run/nbdtun/libvirt/1/memory.sock"
DISKS = "unix:///run/nbdtun/libvirt/1/disks.sock"
#: LIVE, PEER2PEER, PERSIST_DEST, UNDEFINE_SOURCE and NON_SHARED_DISK.
FLAGS = 0x5B

THE_PING = Message(KEEPALIVE, VERSION, PING, Kind.MESSAGE)
THE_PONG = Message(KEEPALIVE, VERSION, PONG, Kind.MESSAGE)


def domain(devices: str = "", more: str = "", kind: str = "kvm", name: str = "web1", uuid: str = UUID_TEXT) -> str:
    """A domain with one disk, and more."""
    return f"""<domain type='{kind}'>
      <name>{name}</name>
      <uuid>{uuid}</uuid>
      <title>one/two</title>
      <metadata><app:note xmlns:app='http://app'>/etc/shadow</app:note></metadata>
      <memory unit='KiB'>131072</memory>
      <resource><partition>/machine</partition></resource>
      <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><cmdline>root=/dev/vda</cmdline></os>
      {more}
      <devices>
        <emulator>/usr/bin/qemu-system-x86_64</emulator>
        <disk type='file' device='disk'>
          <driver name='qemu' type='qcow2'/><source file='{DISK}' index='1'/><backingStore/><target dev='vda' bus='virtio'/>
        </disk>
        {devices}
      </devices>
    </domain>"""


def cookie(inner: str = "", name: str = "web1", uuid: str = UUID_TEXT) -> bytes:
    """A migration's cookie, with its zero byte."""
    text = f"<qemu-migration>\n  <name>{name}</name>\n  <uuid>{uuid}</uuid>\n  <hostname>here</hostname>\n{inner}</qemu-migration>\n"
    return text.encode() + b"\0"


def parameter(name: str, value: object) -> bytes:
    """A typed parameter: a text, or an unsigned number of 64 bits."""
    if isinstance(value, str):
        return string(name) + uint(7) + string(value)
    assert isinstance(value, int)
    return string(name) + uint(4) + struct.pack("!Q", value)


def prepare_body(
    *changes: tuple[str, object], xml: str | None = None, crumb: bytes | None = None, flags: int = FLAGS, without: str = ""
) -> bytes:
    """The arguments of Prepare, with ``changes`` behind the usual parameters."""
    usual: list[tuple[str, object]] = [("destination_xml", xml or domain()), ("migrate_uri", MEMORY), ("disks_uri", DISKS)]
    chosen = [(name, value) for name, value in usual if name != without and name not in dict(changes)] + list(changes)
    listed = b"".join(parameter(name, value) for name, value in chosen)
    return uint(len(chosen)) + listed + opaque(cookie() if crumb is None else crumb) + uint(flags)


def call(procedure: int, body: bytes = b"", program: int = REMOTE, version: int = VERSION, kind: int = Kind.CALL) -> Message:
    return Message(program, version, procedure, kind, 7, 0, body)


def prepare(
    *changes: tuple[str, object], xml: str | None = None, crumb: bytes | None = None, flags: int = FLAGS, without: str = ""
) -> Message:
    return call(Procedure.DOMAIN_MIGRATE_PREPARE3_PARAMS, prepare_body(*changes, xml=xml, crumb=crumb, flags=flags, without=without))


def finish(*changes: tuple[str, object], name: str = "web1", crumb: bytes | None = None) -> Message:
    body = prepare_body(*changes, ("destination_name", name), crumb=crumb)
    return call(Procedure.DOMAIN_MIGRATE_FINISH3_PARAMS, body + uint(0))


def opening(name: str | None = "qemu:///system", flags: int = 0) -> Message:
    return call(Procedure.CONNECT_OPEN, optional_string(name) + uint(flags))


#: A whole conversation, of the source's side.
CONVERSATION = (
    call(Procedure.AUTH_LIST),
    call(Procedure.CONNECT_SUPPORTS_FEATURE, uint(10)),
    opening(),
    call(Procedure.CONNECT_REGISTER_CLOSE_CALLBACK),
    prepare(),
    THE_PING,
    THE_PONG,
    finish(),
    call(Procedure.CONNECT_UNREGISTER_CLOSE_CALLBACK),
    call(Procedure.CONNECT_CLOSE),
)

GRANT = Grant("web1", UUID(UUID_TEXT), "qemu:///system", MEMORY, DISKS, places(domain()))
