"""`pip install` of the checkout, the wheel and the sdist: each brings the plugins and the command, and takes only these away again."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PARTS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "CHANGELOG.md")
FOLDERS = ("nbdtun", "twisted", "docs", "systemd", "examples", "ansible")
SHARED = ("man/man1/nbdtun.1", "man/man7/nbdtun-errors.7", "bash-completion/completions/nbdtun", "nbdtun/nbdtun-dest.service")
"""Some of what is installed below `share`."""

pytestmark = pytest.mark.xdist_group("packaging")  # what is installed is built once


def run(*command: str | Path, cwd: Path) -> str:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, since a build writes into its own."""
    copy = tmp_path_factory.mktemp("checkout")
    run("cp", "-r", *[ROOT / part for part in (*PARTS, *FOLDERS)], copy, cwd=ROOT)
    for made in [*copy.rglob("__pycache__"), *copy.rglob("dropin.cache")]:
        run("rm", "-r", made, cwd=copy)
    return copy


@pytest.fixture(scope="module")
def distributions(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What can be installed: the checkout, a wheel, an sdist."""
    made = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", made, checkout, cwd=made)
    (wheel,), (sdist,) = made.glob("*.whl"), made.glob("*.tar.gz")
    return {"checkout": checkout, "wheel": wheel, "sdist": sdist}


def test_the_collection_for_ansible_is_an_archive_of_its_own(distributions: dict[str, Path]) -> None:
    with tarfile.open(distributions["sdist"]) as sdist, zipfile.ZipFile(distributions["wheel"]) as wheel:
        names = [*sdist.getnames(), *wheel.namelist()]
    assert [name for name in names if "ansible" in name.lower() and not name.endswith("docs/ansible.rst")] == []


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The programs of a fresh environment, which has Twisted itself, and borrows all other packages from that of the tests."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    site = Path(run(tmp_path / "venv/bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if package.name.lower().startswith("twisted"):
            run("cp", "-r", package, site, cwd=tmp_path)
        elif not package.name.startswith(("nbdtun", "__editable__")) and package.suffix != ".pth":
            (site / package.name).symlink_to(package)
    return tmp_path / "venv/bin"


def plugins_of_twisted(environment: Path) -> list[str]:
    """The plugins in Twisted's own directory."""
    code = "import twisted.plugins, pathlib; print(*pathlib.Path(twisted.plugins.__file__).parent.glob('*.py'))"
    return sorted(Path(path).name for path in run(environment / "python", "-c", code, cwd=environment).split())


@pytest.mark.parametrize("kind", ["checkout", "wheel", "sdist", "editable"])
def test_installed(distributions: dict[str, Path], environment: Path, tmp_path: Path, kind: str) -> None:
    """Away from the checkout, so that nothing is found there by chance."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def python(*words: str | Path) -> str:
        return run(environment / "python", *words, cwd=elsewhere)

    def twistd(*words: str) -> str:
        return python("-c", "from twisted.scripts.twistd import run; run()", *words, "--help")

    before = plugins_of_twisted(environment)
    editable = ["--config-settings", "editable_mode=compat", "-e", distributions["checkout"]]
    what = editable if kind == "editable" else [distributions[kind]]
    python("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", *what)

    assert {"nbdtun-source", "nbdtun-dest"} <= set(twistd().split())
    assert "--forward" in twistd("nbdtun-source")
    assert "--listen" in twistd("nbdtun-dest")
    version = run(environment / "nbdtun", "--version", cwd=elsewhere)
    assert version == python("-m", "nbdtun", "--version")
    assert "migrate" in run(environment / "nbdtun", "--help", cwd=elsewhere)
    run(environment / "nbdtun", "certs", "tls", "--host", "127.0.0.1", cwd=elsewhere)
    if kind != "editable":
        assert plugins_of_twisted(environment) == sorted([*before, "nbdtun_plugins.py"])
        assert [path for path in SHARED if not (environment.parent / "share" / path).is_file()] == []
        assert "py.typed" in python("-c", "import nbdtun, os; print(os.listdir(nbdtun.__path__[0]))")

    python("-m", "pip", "uninstall", "-q", "-y", "nbdtun")
    assert plugins_of_twisted(environment) == before
    assert [path for path in SHARED if (environment.parent / "share" / path).exists()] == []
    listed = twistd().split()
    assert "nbdtun-source" not in listed
    assert "web" in listed  # one of Twisted's own
