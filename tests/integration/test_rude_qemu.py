"""A QEMU that has been taken over says what a terminal would obey; the operator reads one line, and so does the log."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lab.daemon import BIN, Twistd, free_port
from lab.process import Process, wait

RUDE = "no\x1b]0;owned\x07\x1b[2J\n2026-11-29T00:00:00+0000 [nbdtun] web1 was migrated by somebody else\u202e"
GREETING = {"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": RUDE}, "capabilities": ["oob"]}}


def serve(client: socket.socket) -> None:
    """Greet, and refuse every command in these words; and tell of events, too."""
    text = ""
    with client, suppress(OSError):
        client.sendall(json.dumps(GREETING).encode() + b"\r\n")
        while data := client.recv(65536):
            text += data.decode()
            while text.strip():  # messages follow each other without a separator
                try:
                    asked, end = json.JSONDecoder().raw_decode(text)
                except ValueError:
                    break
                text = text[end:].lstrip()
                for said in answers(asked):
                    client.sendall(json.dumps(said).encode() + b"\r\n")


def answers(asked: dict[str, object]) -> Iterator[dict[str, object]]:
    ident = {"id": asked["id"]} if "id" in asked else {}
    if asked.get("execute") == "qmp_capabilities":
        yield {"return": {}} | ident
    else:
        yield {"event": RUDE, "data": {"why": RUDE}, "timestamp": {"seconds": 1, "microseconds": 1}}
        yield {"error": {"class": "GenericError", "desc": RUDE}} | ident


@contextmanager
def rude_qemu(path: Path) -> Iterator[None]:
    """A monitor that anybody may connect to, as often as he likes."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield
        listening.shutdown(socket.SHUT_RDWR)


def assert_tame(text: str) -> None:
    """Nothing of it is a line of its own, and nothing moves a cursor."""
    assert "QEMU refused" in text
    assert "".join(text.split("\n")).replace("\t", "").isprintable(), repr(text)
    assert not [line for line in text.split("\n") if line.startswith("2026-11-29T00:00:00+0000")]


def test_at_the_source(directory: Path) -> None:
    with rude_qemu(directory / "src.qmp"):
        arguments = ["migrate", "web1", "--to", f"unix:{directory}/nowhere.sock", "--qmp", str(directory / "src.qmp")]
        done = subprocess.run([BIN / "nbdtun", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert_tame(done.stderr)
    assert (done.stdout.replace("\n", "")).isprintable()


def test_at_the_destination(directory: Path) -> None:
    """In the daemon's log, and at the source, whose operator has not even an account there."""
    port = free_port()
    qemu = ["qemu-system-x86_64", "-S", "-nodefaults", "-display", "none", "-m", "64"]
    with ExitStack() as held:
        held.enter_context(rude_qemu(directory / "dst.qmp"))
        source = held.enter_context(Process([*qemu, "-qmp", f"unix:{directory}/src.qmp,server=on,wait=off"], directory / "qemu.log"))
        wait(lambda: (directory / "src.qmp").exists(), 20, "QEMU", source)
        listen = ["--listen", f"tcp:{port}:interface=127.0.0.1", "--run-dir", f"{directory}/run"]
        daemon = held.enter_context(Twistd(directory, "nbdtun-dest", *listen, "--vm", f"web1={directory}/dst.qmp"))
        daemon.wait_port(port)
        place = ["--qmp", f"{directory}/src.qmp", "--run-dir", f"{directory}/run"]
        done = subprocess.run(
            [BIN / "nbdtun", "migrate", "web1", "--to", f"tcp:127.0.0.1:{port}", *place], capture_output=True, text=True, timeout=60
        )
        log = daemon.log()
    assert done.returncode == 1
    assert_tame(done.stderr)
    assert "".join(log.split("\n")).replace("\t", "").isprintable()
    assert not [line for line in log.split("\n") if "migrated by somebody else" in line and "refused" not in line]
