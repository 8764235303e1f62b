"""
`pip install` of the checkout, the wheel and the sdist: each brings the plugins and the command, and takes only these away again.

And what a tag does to their versions, and to that of Debian's package.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from lab.version import debian

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
    return copied(tmp_path_factory.mktemp("checkout"), *PARTS, *FOLDERS)


def copied(place: Path, *parts: str) -> Path:
    run("cp", "-r", *[ROOT / part for part in parts], place, cwd=ROOT)
    for made in [*place.rglob("__pycache__"), *place.rglob("dropin.cache")]:
        run("rm", "-r", made, cwd=place)
    return place


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


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A repository with one commit: this tree, as it is."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    tree = tmp_path / "history"
    tree.mkdir()
    copied(tree, *PARTS, *FOLDERS, "lab", "debian", ".gitignore")
    git(tree, "init", "-q")
    git(tree, "add", "--all")
    git(tree, "commit", "-q", "-m", "All of it")
    return tree


def git(tree: Path, *words: str) -> str:
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    return run("git", *who, *words, cwd=tree).strip()


def says(tree: Path) -> str:
    """The version that the program in a directory tells."""
    return run(sys.executable, "-m", "nbdtun", "--version", cwd=tree).strip()


def unpacked(made: Path, place: Path) -> Path:
    """What is in a wheel or an sdist."""
    shutil.unpack_archive(made, place, "zip" if made.suffix == ".whl" else "gztar")
    return place


def test_the_tag_is_the_version(history: Path, tmp_path: Path) -> None:
    """Of the wheel, which is made from the sdist, of the sdist, and of the program in both; and a tree without its history keeps it."""
    before = f"0.1.0.dev{git(history, 'log', '-1', '--format=%cd+g%h', '--date=format:%Y%m%d')}"
    assert run(sys.executable, "setup.py", "-q", "--version", cwd=history).split()[-1] == before
    git(history, "tag", "v7.8.9rc1")
    git(history, "tag", "another")
    git(history, "tag", "v7.8.9")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", history, cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == ["nbdtun-7.8.9-py3-none-any.whl", "nbdtun-7.8.9.tar.gz"]
    wheel = unpacked(tmp_path / "dist/nbdtun-7.8.9-py3-none-any.whl", tmp_path / "wheel")
    assert "\nVersion: 7.8.9\n" in (wheel / "nbdtun-7.8.9.dist-info/METADATA").read_text()
    sdist = unpacked(tmp_path / "dist/nbdtun-7.8.9.tar.gz", tmp_path / "sdist") / "nbdtun-7.8.9"
    assert "\nVersion: 7.8.9\n" in (sdist / "PKG-INFO").read_text()
    assert says(wheel) == says(sdist) == "nbdtun 7.8.9"
    assert git(history, "status", "--porcelain") == ""  # nothing of it is written into the checkout


@pytest.mark.skipif("ID=debian" not in Path("/etc/os-release").read_text(), reason="this is no Debian")
def test_the_tag_is_the_version_of_what_debians_package_is_built_of(history: Path) -> None:
    git(history, "tag", "v7.8.9")
    run(sys.executable, "-c", "from lab import deb; deb.copy(*deb.versions())", cwd=history)
    built = history / "build/deb"
    assert (built / "debian/changelog").read_text().startswith("nbdtun (7.8.9~deb")
    assert says(built) == "nbdtun 7.8.9"
    assert git(history, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("version", "told"),
    [("0.1.0", "0.1.0"), ("0.1.0.dev20261130+g1a2b3c4", "0.1.0~git20261130.1a2b3c4"), ("0.2.0rc1", "0.2.0~rc1")],
)
def test_as_debian_orders_them(version: str, told: str) -> None:
    assert debian(version) == told


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dh_virtualenv") is None, reason="dh-virtualenv is not installed; make deb installs it")
def test_the_tag_is_the_version_of_debians_package(history: Path, tmp_path: Path) -> None:
    git(history, "tag", "v7.8.9")
    run("/usr/bin/python3", "-m", "lab.deb", cwd=history)
    (package,) = (history / "build").glob("nbdtun_7.8.9~deb*.deb")
    assert run("dpkg-deb", "--field", package, "Version", cwd=tmp_path).startswith("7.8.9~deb")
    run("dpkg-deb", "--extract", package, tmp_path / "package", cwd=tmp_path)
    (site,) = (tmp_path / "package/usr/lib/nbdtun/lib").glob("python3*/site-packages")
    assert says(site) == "nbdtun 7.8.9"
    assert git(history, "status", "--porcelain") == ""
