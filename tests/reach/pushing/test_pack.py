"""What goes into the executable, and what stays out."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nbdtun.errors import ReachError
from nbdtun.reach.pushing import pack as module
from nbdtun.reach.pushing.pack import COMMON, STATES, THIS, code, from_here, from_wheels, is_wanted, main, oldest_libc, pack

OURS = {"nbdtun/cli/__init__.py": b"def script(): ..."}


def manifest(content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(zipfile.ZipFile(io.BytesIO(content)).read("manifest.json"))
    return found


@pytest.mark.parametrize(
    "path",
    [
        "nbdtun/cli/__init__.py",
        "twisted/plugins/nbdtun_plugins.py",
        "twisted/plugins/twisted_core.py",
        "click-8.1.dist-info/licenses/LICENSE",
    ],
)
def test_what_is_wanted(path: str) -> None:
    assert is_wanted(path)


@pytest.mark.parametrize("path", ["nbdtun/__pycache__/a.pyc", "twisted/words/x.py", "twisted/test/test_amp.py", "cffi/api.py", "bin/x"])
def test_what_is_not(path: str) -> None:
    assert not is_wanted(path)


def test_a_compiled_module_is_for_its_python(tmp_path: Path) -> None:
    for version in (11, 14):
        with zipfile.ZipFile(tmp_path / f"zi-1-cp3{version}-cp3{version}-manylinux_2_17_x86_64.whl", "w") as wheel:
            wheel.writestr("zi/__init__.py", "same")
            wheel.writestr(f"zi/_c.cpython-3{version}-x86_64-linux-gnu.so", f"{version}")
            wheel.writestr("zi/_rust.abi3.so", "abi3")
    assert from_wheels(tmp_path.iterdir()) == {
        COMMON: {"zi/__init__.py": b"same", "zi/_rust.abi3.so": b"abi3"},
        "3.11": {"zi/_c.cpython-311-x86_64-linux-gnu.so": b"11"},
        "3.14": {"zi/_c.cpython-314-x86_64-linux-gnu.so": b"14"},
    }


@pytest.mark.parametrize(
    ("tags", "libc"),
    [
        (("py3-none-any",), ""),
        (("cp311-abi3-manylinux_2_28_x86_64", "cp39-cp39-manylinux2014_x86_64"), "2.28"),
        (("cp311-cp311-manylinux1_x86_64.manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_5_x86_64",), "2.5"),
    ],
)
def test_the_oldest_c_library(tags: tuple[str, ...], libc: str) -> None:
    assert oldest_libc(Path(f"x-1.0-{tag}.whl") for tag in tags) == libc


def test_the_same_makes_the_same() -> None:
    parts = {COMMON: OURS | {"a.py": b""}, "3.9": {}, "3.11": {}}
    assert pack(parts, "2.28") == pack({**parts, COMMON: dict(reversed(parts[COMMON].items()))}, "2.28")
    told = manifest(pack(parts, "2.28"))
    assert (told["pythons"], told["libc"], told["code"]) == (["3.9", "3.11"], "2.28", code(OURS.items()))
    assert manifest(pack({**parts, "3.9": {"c.so": b"x"}}))["contents"] != told["contents"]


def test_a_build_is_of_the_same_code_as_its_checkout_whatever_version_it_says() -> None:
    assert code([*OURS.items(), (STATES, b"1")]) == code([*OURS.items(), (STATES, b"2")]) != code([])


def test_one_without_nbdtun_is_none() -> None:
    with pytest.raises(ReachError, match="nbdtun's own files cannot be found"):
        pack({COMMON: {}})


def test_what_is_installed_here() -> None:
    parts = from_here()
    assert set(parts) == {COMMON, THIS}
    for path in (
        "nbdtun/cli/__init__.py",
        "twisted/internet/base.py",
        "cryptography/x509/__init__.py",
        "twisted/plugins/nbdtun_plugins.py",
    ):
        assert path in parts[COMMON]
    assert any("zope/interface" in path for path in parts[THIS])
    assert any("_cffi_backend" in path for path in parts[THIS])
    assert not any("pytest" in path or "mypy" in path for path in parts[COMMON])


def test_the_command_for_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "from_wheels", lambda wheels: {COMMON: OURS, "3.11": {}})
    main(f"{tmp_path}/build/x.pyz", "a-1-cp311-cp311-manylinux_2_17_x86_64.whl")
    assert manifest((tmp_path / "build/x.pyz").read_bytes())["libc"] == "2.17"
