"""``nbdtun config check``: a file that a daemon could use, and each that it could not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nbdtun.tls.issue import make
from tests.cli.stage import run

DEST = 'listen = "127.0.0.1:10810"\nvm = ["web1=/run/web1.qmp"]\n'
SOURCE = 'connect = "127.0.0.1"\nforward = ["nbd=unix:/run/in.sock"]\n'


EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("daemon", ["dest", "source"])
def test_the_examples_are_valid_with_and_without_their_comments(daemon: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "pki", ["localhost"])
    plain = (EXAMPLES / f"{daemon}.toml").read_text().replace("/etc/pki/qemu", f"{tmp_path}/pki")
    whole = re.sub(r"^# ([a-z-]+ = )", r"\1", plain, flags=re.MULTILINE).replace('"memory"', '"nbd"')
    assert whole.count("\n# ") < plain.count("\n# ")
    for content in (plain, whole):
        (tmp_path / f"{daemon}.toml").write_text(content)
        assert run(capsys, "config", "check", f"{tmp_path}/{daemon}.toml")[::2] == (0, "")


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the usual files."""
    monkeypatch.setattr("nbdtun.daemon.options.USUAL", tmp_path)
    return tmp_path


def test_the_usual_files(usual: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (usual / "dest.toml").write_text(DEST)
    (usual / "source.toml").write_text(SOURCE)
    assert run(capsys, "config", "check") == (
        0,
        f"{usual}/dest.toml: nbdtun dest can use it: listening on 127.0.0.1:10810 without TLS, for VM web1\n"
        f"{usual}/source.toml: nbdtun source can use it: forwarding nbd to 127.0.0.1\n",
        "",
    )


def test_none_of_them(usual: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"nbdtun: neither {usual}/dest.toml nor {usual}/source.toml is there; name a file [config]\n"
    assert run(capsys, "config", "check") == (2, "", line)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (DEST + 'lsten = "1"', "there is no option lsten; did you mean listen?"),
        (DEST + 'window = "much"', "window: 'much' is not a size such as 64KiB, 500MiB or 10G"),
        ('vm = ["web1=/run/web1.qmp"]', "--listen is missing"),
        (DEST + 'tls-dir = "/nonexistent"', "--tls-dir /nonexistent: No such file or directory"),
    ],
)
def test_each_mistake_is_one_line(content: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "dest.toml"
    file.write_text(content)
    status, out, err = run(capsys, "config", "check", f"{file}")
    assert (status, out) == (2, "")
    assert err.startswith(f"nbdtun: {file}: ")
    assert line in err
    assert err.count("\n") == 1


def test_certificates_are_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "pki", ["localhost"])
    for name, content in (("dest.toml", DEST), ("source.toml", SOURCE)):
        (tmp_path / name).write_text(f'{content}tls-dir = "{tmp_path}/pki"')
        assert run(capsys, "config", "check", f"{tmp_path}/{name}")[0] == 0
    (tmp_path / "pki/server-key.pem").unlink()
    status, _, err = run(capsys, "config", "check", f"{tmp_path}/dest.toml")
    assert (status, err) == (2, f"nbdtun: {tmp_path}/dest.toml: {tmp_path}/pki/server-key.pem: No such file or directory [config]\n")


def test_what_the_command_line_adds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "web.toml"
    file.write_text('vm = ["web1=/run/web1.qmp"]')
    status, _, err = run(capsys, "config", "check", f"{file}")
    assert (status, err.partition(";")[2]) == (2, " give --daemon dest or --daemon source [config]\n")
    status, out, _ = run(capsys, "config", "check", "--daemon", "dest", f"{file}", "--", "--listen", "unix:/t")
    assert (status, out.rpartition(": ")[2]) == (0, "listening on unix:/t without TLS, for VM web1\n")
