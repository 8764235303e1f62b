"""What is shown of a command line with secrets."""

from __future__ import annotations

import pytest

from nbdtun.spawn.command.hidden import Hiding, hidden
from nbdtun.spawn.command.line import parse


@pytest.mark.parametrize(
    ("option", "value", "shown"),
    [
        ("-object", "secret,id=s0,data=top,format=raw", "secret,id=s0,data=HIDDEN,format=raw"),
        ("-object", '{"qom-type": "secret", "id": "s0", "data": "top"}', '{"qom-type": "secret", "id": "s0", "data": "HIDDEN"}'),
        ("-object", "secret,id=s0,file=/etc/key", "secret,id=s0,file=/etc/key"),
        ("-spice", "port=5930,password=top", "port=5930,password=HIDDEN"),
        ("-blockdev", "driver=iscsi,node-name=a,password=top", "driver=iscsi,node-name=a,password=HIDDEN"),
        ("-vnc", ":1,password=on", ":1,password=on"),
        ("-vnc", ":1,password", ":1,password"),
        ("-drive", "file=a,file.password-secret=s0", "file=a,file.password-secret=s0"),
        ("-name", "data=x", "data=x"),
        ("-fw_cfg", "name=opt/x,string=top,,most", "name=opt/x,string=HIDDEN"),
        ("-fw_cfg", "name=opt/x,file=/srv/x", "name=opt/x,file=/srv/x"),
        ("-smbios", "type=11,value=io.systemd.credential:a=b", "type=11,value=HIDDEN"),
        ("-smbios", "type=1,serial=7", "type=1,serial=7"),
        ("-drive", r"file=rbd:p/i:key=AQ\=:mon_host=a:password=b", "file=rbd:p/i:key=HIDDEN:mon_host=a:password=HIDDEN"),
        ("-hda", "rbd:p/i:id=a:key=AQ==", "rbd:p/i:id=a:key=HIDDEN"),
        ("-hda", "iscsi://me%top@h/t/0", "iscsi://me%HIDDEN@h/t/0"),
        ("-hda", "/srv/key=3/a", "/srv/key=3/a"),
        ("-cdrom", "https://me:top@h/a?token=b&sort=c&X-Sig-Key=d", "https://me:HIDDEN@h/a?token=HIDDEN&sort=c&X-Sig-Key=HIDDEN"),
        ("-drive", "file=nbd://h/x?socket=/run/a", "file=nbd://h/x?socket=/run/a"),
        ("-drive", 'file=json:{"driver": "rbd",, "password": "a\\"b"}', 'file=json:{"driver": "rbd",, "password": "HIDDEN"}'),
        ("-blockdev", '{"driver": "https", "cookie": "a=b"}', '{"driver": "https", "cookie": "HIDDEN"}'),
        (
            "-append",
            "root=/dev/vda systemd.set_credential=a:b db_password=c",
            "root=/dev/vda systemd.set_credential=a:HIDDEN db_password=HIDDEN",
        ),
    ],
)
def test_secrets_are_not_shown(option: str, value: str, shown: str) -> None:
    assert hidden(["-S", option, value, "-pidfile", "/run/a,b"]) == ("-S", option, shown, "-pidfile", "/run/a,b")


def test_texts_about_a_command_line() -> None:
    hide = Hiding(parse(["-fw_cfg", "name=a,string=top", "-object", "secret,id=s,data=top more", "-hda", "rbd:p/i:key=AQ==", "-S"]))
    said = "qemu: -fw_cfg name=a,string=top: bad; topmost top more, AQ== is no key of rbd:q/i:key=another"
    assert hide(said) == "qemu: -fw_cfg name=a,string=HIDDEN: bad; topmost HIDDEN, HIDDEN is no key of rbd:q/i:key=HIDDEN"
    assert Hiding(())("top") == "top"
