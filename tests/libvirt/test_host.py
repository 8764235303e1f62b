"""What libvirt says, as values: by its own test driver, and by recorded XML of a libvirt 9.0 where that driver has nothing to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.errors import LibvirtError
from nbdtun.libvirt.connection import NO_SUPPORT, OPERATION_UNSUPPORTED, asking
from nbdtun.libvirt.host import Capabilities, Domain, Host

libvirt = pytest.importorskip("libvirt")

CAPABILITIES = """
<capabilities>
  <host>
    <uuid>9cf0ea5d-c382-4bf0-8d4f-2f4e2de3acd9</uuid>
    <secmodel><model>apparmor</model><doi>0</doi></secmodel>
    <secmodel><model>dac</model><doi>0</doi><baselabel type='kvm'>+64055:+106</baselabel></secmodel>
  </host>
  <guest><os_type>hvm</os_type><arch name='x86_64'><domain type='qemu'/><domain type='kvm'/></arch></guest>
</capabilities>"""

ABILITIES = """
<domainCapabilities>
  <machine>pc-q35-7.2</machine>
  <os>
    <enum name='firmware'><value>efi</value></enum>
    <loader supported='yes'><value>/usr/share/OVMF/OVMF_CODE_4M.fd</value><enum name='type'><value>rom</value></enum></loader>
  </os>
  <devices>
    <tpm supported='yes'><enum name='backendModel'><value>passthrough</value><value>emulator</value></enum></tpm>
  </devices>
</domainCapabilities>"""


class Told:
    """A virConnect, or a virDomain, that says what it was told to."""

    def __init__(self, **told: object) -> None:
        self._told = told

    def __getattr__(self, name: str) -> object:
        def say(*_: object) -> object:
            told = self._told[name]
            if isinstance(told, Exception):
                raise told
            return told

        return say


def refusal(number: int) -> Exception:
    error: Exception = libvirt.libvirtError("refused")
    error.err = (number, 0, "refused", 2, "", "", "", 0, 0)  # type: ignore[attr-defined]
    return error


@pytest.fixture
def host() -> Host:
    with asking() as binding:
        return Host(binding.open("test:///default"))


def test_its_domains(host: Host) -> None:
    found = host.namesake("test")
    assert found is not None
    assert (found.state, found.reason, found.active, found.arrives) == ("running", "unknown", True, False)
    assert host.domain(found.uuid) == found
    assert host.namesake("web1") is host.domain("11111111-2222-3333-4444-555555555555") is None


@pytest.mark.parametrize(
    ("state", "active", "arrives", "run_state"),
    [
        ("running", True, False, "running"),
        ("blocked", True, False, "running"),
        ("paused", True, False, "paused"),
        ("paused", True, True, "inmigrate"),
        ("pmsuspended", True, False, "suspended"),
        ("crashed", True, False, "guest-panicked"),
        ("shutoff", False, False, ""),
        ("crashed", False, False, ""),
    ],
)
def test_its_state_as_qemu_names_it(state: str, active: bool, arrives: bool, run_state: str) -> None:
    assert Domain("web1", "u", state, "unknown", active, arrives).run_state == run_state


def test_a_domain_is_ended_once(host: Host) -> None:
    found = host.namesake("test")
    assert found is not None
    host.end(found.uuid)
    host.end(found.uuid)
    ended = host.domain(found.uuid)
    assert ended is not None
    assert (ended.state, ended.reason, ended.active) == ("shutoff", "destroyed", False)


def test_its_networks(host: Host) -> None:
    assert host.network("default") is True
    assert host.network("blue") is None


def test_the_disks_of_all_domains(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    xml = "<domain><uuid>{}</uuid><devices><disk><source file='{}'/></disk><disk><source pool='p'/></disk></devices></domain>"
    first, second = (Told(XMLDesc=xml.format(uuid, tmp_path / name)) for uuid, name in (("1", "a"), ("2", "link")))
    gone = Told(XMLDesc=refusal(42))
    assert Host(Told(listAllDomains=[first, second, gone])).disks() == {str(tmp_path / "a"): {"1", "2"}}


def test_a_volume_belongs_to_the_domain_that_names_it() -> None:
    """By its pool, also where the domain is off; and a disk that was plugged into a running one is in no definition."""
    xml = "<domain><uuid>{}</uuid><devices>{}</devices></domain>"
    named = xml.format("1", "<disk type='volume'><source pool='images' volume='a'/></disk>")
    volume = Told(storageVolLookupByName=Told(path="/data/a"))
    assert Host(Told(listAllDomains=[Told(XMLDesc=named)], storagePoolLookupByName=volume)).disks() == {"/data/a": {"1"}}
    assert Host(Told(listAllDomains=[Told(XMLDesc=named)], storagePoolLookupByName=refusal(49))).disks() == {}

    class Plugged:
        def XMLDesc(self, flags: int) -> str:
            return xml.format("2", "" if flags else "<disk><source dev='/dev/vg0/b'/></disk>")

    assert Host(Told(listAllDomains=[Plugged()])).disks() == {"/dev/vg0/b": {"2"}}


def test_what_it_is() -> None:
    told = Host(Told(getCapabilities=CAPABILITIES, getHostname="there")).capabilities()
    kinds = {"x86_64": frozenset({"qemu", "kvm"})}
    assert told == Capabilities("9cf0ea5d-c382-4bf0-8d4f-2f4e2de3acd9", "there", (64055, 106), kinds)


def test_what_an_emulator_can_do() -> None:
    told = Host(Told(getDomainCapabilities=ABILITIES)).abilities(None, "x86_64", "q35", "kvm")
    assert told.machine == "pc-q35-7.2"
    assert told.firmware == {"efi"}
    assert told.tpms == {"passthrough", "emulator"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [(2, ""), (1, ""), (0, "the CPU is incompatible with the host's"), (refusal(91), "refused"), (refusal(NO_SUPPORT), "")],
)
def test_what_a_cpu_lacks(answer: object, why: str) -> None:
    assert Host(Told(compareHypervisorCPU=answer)).lack_of_cpu(None, "x86_64", "q35", "kvm", "<cpu/>") == why


@pytest.mark.parametrize(
    ("state", "job", "arrives"),
    [
        ([3, 2], refusal(OPERATION_UNSUPPORTED), True),
        ([3, 11], refusal(OPERATION_UNSUPPORTED), True),
        ([3, 2], {"type": 0}, False),  # paused by a migration that leaves
        ([3, 2], refusal(55), False),
        ([3, 1], refusal(OPERATION_UNSUPPORTED), False),
        ([1, 2], refusal(OPERATION_UNSUPPORTED), False),
        ([99, 99], {}, False),
    ],
)
def test_only_a_paused_domain_with_libvirts_own_job_arrives(state: list[int], job: object, arrives: bool) -> None:
    domain = Told(state=state, isActive=1, jobStats=job, name="web1", UUIDString="u")
    found = Host(Told(lookupByName=domain)).namesake("web1")
    assert found is not None
    assert found.arrives == arrives


def test_secrets() -> None:
    secret = Told(UUIDString="u", usageType=1, usageID="/data/a")
    host = Host(Told(listAllSecrets=[secret]))
    assert host.has_secret("u")
    assert host.has_secret("", (1, "/data/a"))
    assert not host.has_secret("other", (2, "/data/a"))


def test_other_errors_are_told(host: Host) -> None:
    with pytest.raises(LibvirtError, match="not supported by the connection driver"):
        host.has_secret("u")
