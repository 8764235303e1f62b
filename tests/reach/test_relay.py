from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

from nbdtun.reach.relay import door_path, relay


def test_it_copies_both_ways_and_passes_the_end_on() -> None:
    near, far = socket.socketpair()
    door, receiver = socket.socketpair()
    running = threading.Thread(target=relay, args=(door, far.fileno(), far.fileno()))
    running.start()
    data = os.urandom(3_000_000)

    def echo() -> None:
        while piece := receiver.recv(100_000):
            receiver.sendall(piece)
        receiver.sendall(b"end")
        receiver.close()

    threading.Thread(target=echo).start()

    def send() -> None:
        near.sendall(data)
        near.shutdown(socket.SHUT_WR)

    threading.Thread(target=send).start()
    near.settimeout(20)
    got = b""
    while len(got) < len(data) + 3:
        got += near.recv(1_000_000)
    assert got == data + b"end"
    running.join(10)
    assert not running.is_alive()
    for sock in (near, far, door):
        sock.close()


def test_a_reader_that_has_gone_ends_it() -> None:
    read, write = os.pipe()
    reading, held = os.pipe()
    door, receiver = socket.socketpair()
    os.close(read)
    receiver.sendall(b"too late")
    relay(door, reading, write)
    receiver.close()
    os.close(held)
    for descriptor in (write, reading):
        os.close(descriptor)
    door.close()


def test_each_vm_has_a_door() -> None:
    assert door_path(Path("/run/nbdtun"), "web1") == Path("/run/nbdtun/receive/web1.sock")
