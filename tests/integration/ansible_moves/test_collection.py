"""The collection as ansible-core sees it: built, installed, documented, and without a complaint of its sanity tests."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from lab import collection
from nbdtun import __version__

yaml = pytest.importorskip("yaml", reason="ansible-core is not installed: pip install '.[ansible]'")

pytestmark = pytest.mark.skipif(bool(collection.unable()), reason=collection.unable())

NAME = "nbdtun.migration"
MODULES = ("evacuate", "migrate", "vm_info")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collection.built(tmp_path_factory.mktemp("built"))


def test_the_archive_has_what_is_used_and_nothing_else(archive: Path) -> None:
    with tarfile.open(archive) as files:
        names = {*files.getnames()}
        told = json.loads(files.extractfile("MANIFEST.json").read())["collection_info"]  # type: ignore[union-attr]
    assert names >= {"README.md", "meta/runtime.yml", "playbooks/reboot_rack.yml", *(f"plugins/modules/{each}.py" for each in MODULES)}
    assert [name for name in names if name.startswith(("tests", ".", "ruff")) or "__pycache__" in name] == []
    assert (f"{told['namespace']}.{told['name']}", told["license_file"]) == (NAME, "LICENSE")
    assert told["version"] == f"{__version__}.0"[:5]


def test_it_is_documented_and_its_playbook_and_role_can_be_read(archive: Path, tmp_path: Path) -> None:
    there = tmp_path / "installed"
    collection.run("ansible-galaxy", "collection", "install", "-p", there, archive)
    config = tmp_path / "ansible.cfg"
    config.write_text(f"[defaults]\ncollections_path = {there}\n")
    told = json.loads(collection.run("ansible-doc", "--json", *(f"{NAME}.{each}" for each in MODULES), config=config))
    for each in MODULES:
        documented = told[f"{NAME}.{each}"]
        assert {"doc", "examples", "return"} <= documented.keys()
        assert {"qmp", "libvirt", "to", "tls_dir", "executable"} <= documented["doc"]["options"].keys()
        yaml.safe_load(documented["examples"])
    role = json.loads(collection.run("ansible-doc", "--json", "-t", "role", f"{NAME}.nbdtun", config=config))
    defaults = yaml.safe_load((collection.COLLECTION / "roles/nbdtun/defaults/main.yml").read_text())
    assert role[f"{NAME}.nbdtun"]["entry_points"]["main"]["options"].keys() == defaults.keys()
    collection.run("ansible-playbook", "--syntax-check", "-e", "rack=localhost", f"{NAME}.reboot_rack", config=config)


def test_ansible_finds_nothing_wrong(tmp_path: Path) -> None:
    """It takes 13 s of a processor; the very first time two minutes, until its environments are in the cache."""
    assert collection.sanity(tmp_path) == ""
