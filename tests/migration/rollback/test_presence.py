from __future__ import annotations

import subprocess
import sys

from nbdtun.migration.rollback.presence import Presence, is_present

NAME = "nbdtun-test-presence"


def test_a_name_is_held_once() -> None:
    one, other = Presence(NAME), Presence(NAME)
    assert not is_present(NAME)
    assert one.acquire()
    assert is_present(NAME)
    assert not other.acquire()
    assert repr(one) == f"<Presence {NAME} held>"
    assert repr(other) == f"<Presence {NAME} not held>"
    other.release()
    assert is_present(NAME)
    one.release()
    one.release()
    assert not is_present(NAME)


def test_a_process_that_is_killed_holds_nothing() -> None:
    script = f"from nbdtun.migration.rollback.presence import Presence; p = Presence({NAME!r}); print(p.acquire(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"
        assert is_present(NAME)
        other.kill()
        other.wait()
        assert not is_present(NAME)
