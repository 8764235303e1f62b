"""What is shown of a command line with secrets."""

from __future__ import annotations

import pytest

from nbdtun.spawn.command.hidden import hidden


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
    ],
)
def test_secrets_are_not_shown(option: str, value: str, shown: str) -> None:
    assert hidden(["-S", option, value, "-pidfile", "/run/a,b"]) == ("-S", option, shown, "-pidfile", "/run/a,b")
