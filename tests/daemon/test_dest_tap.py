"""The destination's plugin: its options, and the service that is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from nbdtun.config import VM, DestinationSettings, Owner, Target, TunnelSettings
from nbdtun.daemon.dest_tap import Options, make_room_for, makeService
from nbdtun.daemon.service import Daemon
from nbdtun.errors import ConfigError
from nbdtun.tunnel.destination.allowlist import Rule
from nbdtun.tunnel.settings import Limits
from tests.daemon.stage import FakeServices, mistake


def destination(*words: str) -> DestinationSettings:
    options = Options()
    options.read(words)
    return options.settings


def test_a_destination() -> None:
    assert destination(
        *("--listen", "tcp:10810", "--tls-dir", "/pki", "--target", "nbd=unix:/run/nbd.sock", "--target", "ram=unix:/run/ram.sock"),
        *(
            "--vm",
            "web1=/run/web1.qmp",
            "--vm",
            "web2=/run/web2.qmp",
            "--window",
            "32MiB",
            "--link-timeout",
            "5s",
            "--resume-window",
            "1min",
        ),
        *("--run-dir", "/run/nbdtun", "--socket-owner", "0:0", "--insecure", "--handshake-timeout", "3s"),
        *("--allow", "src*", "--allow", "*.hosts.example", "--max-channels", "9", "--max-channels-per-peer", "8"),
        *("--max-handshakes", "7", "--max-handshakes-per-address", "6"),
    ) == DestinationSettings(
        tunnel=TunnelSettings(
            tls_dir="/pki",
            insecure=True,
            run_dir="/run/nbdtun",
            socket_owner=Owner(0, 0),
            window=32 * 2**20,
            link_timeout=5.0,
            resume_window=60.0,
            handshake_timeout=3.0,
        ),
        allow=(Rule.parse("src*"), Rule.parse("*.hosts.example")),
        limits=Limits(9, 8, 7, 6),
        listen="tcp:10810",
        targets=(Target("nbd", "unix:/run/nbd.sock"), Target("ram", "unix:/run/ram.sock")),
        vms=(VM("web1", "/run/web1.qmp"), VM("web2", "/run/web2.qmp")),
    )


def test_one_for_vms_of_libvirts() -> None:
    """The option may stand alone, or have the URI of another libvirt."""
    for words, uri in ((("--libvirt",), "qemu:///system"), (("--libvirt=qemu:///session",), "qemu:///session")):
        settings = destination("--listen", "unix:/run/tunnel.sock", *words, "--admit", "/data", "--admit", "/srv/")
        assert (settings.libvirt, settings.admit, settings.vms) == (uri, ("/data", "/srv"), ())
    options = Options()
    options.parseOptions(["--listen", "unix:/run/tunnel.sock", "--libvirt"])
    assert options.account() == "listening on unix:/run/tunnel.sock without TLS, for VMs of libvirt at qemu:///system"


def test_what_it_says_that_it_serves() -> None:
    options = Options()
    options.read(["--listen", "unix:/a", "--vm", "a=/q", "--vm", "*=/run/{vm}.qmp", "--target", "nbd=unix:/b"])
    assert options.account() == "listening on unix:/a without TLS, for VMs a, * at /run/{vm}.qmp and target nbd"


def test_it_names_a_few_targets() -> None:
    options = Options()
    options.read(["--listen", "unix:/a", "--vm", "a=/q", *(word for each in range(9) for word in ("--target", f"t{each}=unix:/b"))])
    assert options.account() == "listening on unix:/a without TLS, for VM a and targets t0, t1, t2, t3, t4, t5, t6, t7 and 1 more"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "--listen is missing"),
        (("--listen", "web"), "--listen: 'web' is not an endpoint to listen on"),
        (("--listen", "unix:/a", "--vm", "a=/q", "--metrics", "web"), "--metrics: 'web' is not an endpoint to listen on"),
        (("--listen", "unix:/a"), "a destination needs at least one --target or --vm to serve"),
        (("--listen", "unix:/a", "--target", "nbd"), "--target: 'nbd' does not have the form NAME=CLIENT-ENDPOINT"),
        (("--listen", "unix:/a", "--vm", "a/b=/q"), "--vm: 'a/b' is not a valid name"),
        (("--listen", "unix:/a", "--vm", "a=/q", "--allow", "src*"), "--allow needs --tls-dir"),
        (("--listen", "unix:/a", "--vm", "a=/q", "--tls-dir", "/t", "--allow", ""), "--allow: an empty pattern"),
        (("--listen", "unix:/a", "--vm", "a=/q", "--max-channels", "0"), "--max-channels: '0' is not a number from 1"),
        (("--listen", "unix:/a", "surplus"), "Wrong number of arguments."),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], line: str) -> None:
    assert mistake(destination, *words).startswith(line)


def test_the_service_is_made_of_the_settings(services: FakeServices) -> None:
    options = Options()
    options.parseOptions(["--listen", "unix:/a", "--vm", "a=/q"])
    makeService(options)
    assert services.asked == [("DestinationService", options.settings)]
    assert services.governed == ["nbdtun-dest"]


@pytest_twisted.ensureDeferred
async def test_a_running_one_takes_other_settings(services: FakeServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms: list[Limits] = []
    monkeypatch.setattr("nbdtun.daemon.dest_tap.make_room_for", rooms.append)
    file = tmp_path / "dest.toml"
    file.write_text('listen = "unix:/a"\nvm = ["a=/q"]')
    options = Options()
    options.parseOptions(["--config", f"{file}"])
    daemon = makeService(options)
    assert isinstance(daemon, Daemon)
    assert daemon.reload is not None
    file.write_text('listen = "unix:/a"\nvm = ["b=/q"]\nmax-channels = 7')
    await daemon.reload()
    assert [settings.vms for settings in services.taken] == [(VM("b", "/q"),)]
    assert [limits.channels for limits in rooms] == [1024, 7]


def test_workers_need_records_that_can_be_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine of eight cores: four, unless it is said how many, or OpenSSL makes the records."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    words, library = ("--listen", "unix:/a", "--target", "a=unix:/b"), ("--records", "library")
    for more, count in (((), 4), (("--workers", "2"), 2), (("--tls-dir", "/pki", *library), 1), (library, 4)):
        options = Options()
        options.read((*words, *more))
        assert options.workers == count
    assert mistake(destination, *words, "--tls-dir", "/pki", *library, "--workers", "2") == (
        "--workers 2: its TLS records are made by OpenSSL (--records library), and links cannot be passed to another process; "
        "leave out one of the two"
    )


def test_settings_that_fail_later_end_in_one_line_too(services: FakeServices, capsys: pytest.CaptureFixture[str]) -> None:
    services.error = ConfigError("/pki/server-key.pem: Permission denied")
    options = Options()
    options.parseOptions(["--listen", "unix:/a", "--vm", "a=/q"])
    with pytest.raises(SystemExit) as caught:
        makeService(options)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "nbdtun-dest: /pki/server-key.pem: Permission denied [config]\n"


@pytest.mark.parametrize(("allowed", "lines"), [(10_000, 0), (2_500, 0), (2_499, 1)])
def test_too_few_open_files_are_told(allowed: int, lines: int, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.daemon.dest_tap.needed", lambda channels, handshakes: 2_500)
    monkeypatch.setattr("nbdtun.daemon.dest_tap.make_room", lambda wanted: min(wanted, allowed))
    make_room_for(Limits(channels=1000))
    assert len(said) == lines
    for line in said:
        assert "2499 (ulimit -Hn) is too low for --max-channels 1000; raise it to 2500" in line
