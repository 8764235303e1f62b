"""Pools and volumes of libvirt's own test driver; integration/libvirt_far has those of a real one."""

from __future__ import annotations

from typing import Any

import pytest

from nbdtun.errors import LibvirtError
from nbdtun.libvirt.connection import asking
from nbdtun.libvirt.pools import PREFIX, Pool, Pools, _name

libvirt = pytest.importorskip("libvirt")

VOLUME = "<volume><name>{}</name><capacity>1000</capacity><target><format type='raw'/></target></volume>"
DEFAULT = Pool("default-pool", "dir", "/default-pool", True, 100 << 30)


@pytest.fixture
def virconnect() -> Any:
    with asking() as binding:
        return binding.open("test:///default")


@pytest.fixture
def pools(virconnect: Any) -> Pools:
    return Pools(virconnect)


def test_a_pool_is_found_by_its_directory_and_by_its_name(pools: Pools) -> None:
    assert pools.at("/default-pool/") == pools.named("default-pool") == DEFAULT
    assert pools.at("/default") is pools.named("other") is None


def test_a_pool_may_be_inactive(virconnect: Any, pools: Pools) -> None:
    pool = virconnect.storagePoolDefineXML("<pool type='dir'><name>a</name><target><path>/idle</path></target></pool>", 0)
    found = pools.at("/idle")
    assert found is not None
    assert (found.name, found.active) == ("a", False)
    pool.undefine()


def test_a_pool_of_ours_is_no_pool_of_the_hosts(virconnect: Any, pools: Pools) -> None:
    virconnect.storagePoolCreateXML(f"<pool type='dir'><name>{PREFIX}1</name><target><path>/data</path></target></pool>", 0)
    assert pools.at("/data") is None


def test_a_volume_is_made_and_removed_once(virconnect: Any, pools: Pools) -> None:
    pools.make(DEFAULT, "/default-pool", VOLUME.format("v"))
    assert pools.path_of(DEFAULT, "v") == "/default-pool/v"
    with pytest.raises(LibvirtError, match="already exists"):
        pools.make(DEFAULT, "/default-pool", VOLUME.format("v"))
    pools.remove(DEFAULT, "/default-pool/v")
    pools.remove(DEFAULT, "/default-pool/v")
    assert pools.path_of(DEFAULT, "v") == ""


@pytest.mark.parametrize(("kind", "files", "makes"), [("netfs", True, True), ("logical", False, True), ("iscsi", False, False)])
def test_what_a_kind_of_pool_has(kind: str, files: bool, makes: bool) -> None:
    pool = Pool("p", kind, "/p")
    assert (pool.has_files, pool.can_make) == (files, makes)


def test_a_pool_that_a_killed_process_has_left_is_ended(virconnect: Any, pools: Pools) -> None:
    name = _name("/data/new")
    virconnect.storagePoolCreateXML(f"<pool type='dir'><name>{name}</name><target><path>/data/new</path></target></pool>", 0)
    pools.drop("/data/old")
    assert name in [each.name() for each in virconnect.listAllStoragePools()]
    pools.drop("/data/new/")
    pools.drop("/data/new/")
    assert name not in [each.name() for each in virconnect.listAllStoragePools()]
