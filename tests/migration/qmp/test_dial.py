from __future__ import annotations

from nbdtun.migration.qmp import dial as module


def test_a_socket_of_somebody_else() -> None:
    text = module._remedy(PermissionError(13, "Permission denied"), "/proc/1/mem")
    assert text == "Permission denied; run as root or as QEMU's user (it is owned by uid 0)"
    assert "another user" in module._remedy(PermissionError(13, "Permission denied"), "/no/such/file")
