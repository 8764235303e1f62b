"""
The settings of the two daemons and of one migration, which :mod:`nbdtun.service` takes.

Sizes are in bytes, times in seconds. The defaults are those of the options.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from attrs import Attribute, field, frozen

from nbdtun.config.endpoints import Role, check_exposure, check_socket_path, host_of, parse
from nbdtun.config.names import check_name
from nbdtun.config.ssh import SSHAddress, is_ssh
from nbdtun.config.values import VM, FactoryTarget, Forward, Owner, Target, VMPattern
from nbdtun.errors import ConfigError
from nbdtun.migration.settings import MigrationSettings
from nbdtun.spawn.rewrite.answers import Answers
from nbdtun.tls.contexts import verify_name
from nbdtun.tls.store import Layout, Store
from nbdtun.tls.trust import Trusting
from nbdtun.tunnel.destination.allowlist import AllowList, Rule
from nbdtun.tunnel.settings import BUILT_IN, Limits, LocalLimits, Records
from nbdtun.units import duration_text, size_text
from nbdtun.validators import between

KIB, MIB, GIB = 2**10, 2**20, 2**30


#: Checks how long a daemon may wait for what is under way when it is stopped.
_DRAIN = between(0, 7 * 86400, duration_text)


def _mode(_: object, __: Attribute[int], value: int) -> None:
    if not 0 <= value <= 0o777:
        raise ConfigError(f"{value:o} is not a mode for a socket; it must be between 0 and 777")


def _absolute(path: str | None) -> str | None:
    return os.path.abspath(path) if path else None


def _text_if_any(text: str | None) -> str:
    return text or ""


def _path_if_any(path: str) -> str:
    return check_socket_path(path) if path else ""


@frozen(kw_only=True)
class TunnelSettings:
    """
    The settings of either end of a tunnel.

    ``bandwidth`` (bytes per second, None for no limit) applies to all channels together, in the direction that this end sends.
    ``tls_dir`` and ``run_dir`` are relative to the current directory of now; twistd's --rundir changes that later.
    ``records`` says who makes the TLS records; in FIPS mode, OpenSSL does in any case.
    ``any_purpose`` accepts certificates that have no extended key usage, as old PKIs make them.
    ``tls_layout`` is that of the files in ``tls_dir``, ``tls_password_file`` the file with the passphrase of the key, if it has one.
    ``insecure`` accepts endpoints that others can reach without a certificate. It weakens nothing where ``tls_dir`` is given.
    ``metrics`` is the endpoint that Prometheus asks; empty for none.
    ``trust`` is that of certificates which are in no files, in the place of those in ``tls_dir``.
    """

    tls_dir: str | None = field(default=None, converter=_absolute)
    tls_name: str | None = None
    tls_layout: Layout = Layout.QEMU
    tls_password_file: str | None = field(default=None, converter=_absolute)
    any_purpose: bool = False
    insecure: bool = False
    run_dir: str | None = field(default=None, converter=_absolute)
    socket_owner: Owner | None = None
    socket_mode: int = field(default=0o600, validator=_mode)
    window: int = field(default=64 * MIB, validator=between(64 * KIB, GIB, size_text))
    link_timeout: float = field(default=15.0, validator=between(0.1, 3600, duration_text))
    bandwidth: int | None = None
    resume_window: float = field(default=300.0, validator=between(0, 7 * 86400, duration_text))
    handshake_timeout: float = field(default=10.0, validator=between(0.1, 3600, duration_text))
    records: Records = Records.BATCHED
    metrics: str = field(default="", converter=_text_if_any)
    trust: Trusting | None = field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.metrics and not (parse(self.metrics, Role.LISTEN).local or self.insecure):
            what = f"--metrics {self.metrics}: all who reach it can read them"
            raise ConfigError(what, "use 127.0.0.1:9810 or unix:PATH, or give --insecure on a trusted network")
        if self.tls_name is not None:
            if not self.encrypted:
                raise ConfigError("--tls-name needs --tls-dir")
            verify_name(self.tls_name)
        if self.tls_password_file is not None and self.tls_dir is None:
            raise ConfigError("--tls-password-file needs --tls-dir")

    @property
    def store(self) -> Store | None:
        """Where the TLS files are; None without TLS, or with certificates that are in no files."""
        password = None if self.tls_password_file is None else Path(self.tls_password_file)
        return None if self.tls_dir is None else Store(Path(self.tls_dir), self.tls_layout, password)

    @property
    def encrypted(self) -> bool:
        """Whether there is TLS."""
        return self.tls_dir is not None or self.trust is not None

    def check_exposure(self, endpoint: str, role: Role) -> None:
        """Refuse an endpoint of the tunnel that others could reach or read without TLS (:exc:`ConfigError`)."""
        check_exposure(endpoint, role, tls=self.encrypted, insecure=self.insecure)


#: nbdtun at the far end, where it is installed.
REMOTE = "nbdtun"


@frozen(kw_only=True)
class FarSettings:
    """
    The far end that ssh starts.

    ``qmp`` is the QMP socket of the QEMU that waits there; empty: the usual place. ``ports`` (first and last) are those that it may listen
    on; None: the kernel's choice. With ``through_ssh`` the links go through ssh in any case. ``remote`` is nbdtun there, as a part of a
    shell's command line. ``targets`` are those of a tunnel alone. With ``push``, it is copied to a host where it is not installed, unless
    ``remote`` says where it is. ``libvirt`` is the URI of the libvirt there that receives the VM; empty: a QEMU of its own does.
    """

    qmp: str = field(default="", converter=_path_if_any)
    ports: tuple[int, int] | None = None
    through_ssh: bool = False
    remote: str = REMOTE
    targets: tuple[Target, ...] = ()
    push: bool = True
    libvirt: str = ""

    def __attrs_post_init__(self) -> None:
        if not self.remote.strip() or "\n" in self.remote:
            raise ConfigError("--remote-command is empty, or has more than one line")


@frozen(kw_only=True)
class Dialling:
    """
    Common to all sources: the tunnel's settings, and the endpoint of the destination, or ``ssh://HOST``, where ``far`` counts.

    A ``code`` stands for certificates that the two ends do not have yet.
    """

    tunnel: TunnelSettings = TunnelSettings()
    connect: str
    far: FarSettings = FarSettings()
    code: str | None = None

    @property
    def dialling(self) -> Dialling:
        """Those of a process that gets its connections passed, and only dials: without the forwards, of which there may be thousands."""
        return Dialling(tunnel=self.tunnel, connect=self.connect, far=self.far, code=self.code)

    def __attrs_post_init__(self) -> None:
        if self.code is not None:
            self._check_code()
            return
        if self.by_ssh is not None:
            if self.tunnel.tls_dir is not None or self.tunnel.tls_name is not None:
                raise ConfigError(f"{self.connect}: both ends make certificates of their own; leave --tls-dir and --tls-name out")
            return
        self._refuse_far()
        self.tunnel.check_exposure(self.connect, Role.CONNECT)
        self._name_to_verify()

    def _check_code(self) -> None:
        if self.by_ssh is not None:
            raise ConfigError(f"{self.connect}: ssh needs no code; leave --code out")
        if self.tunnel.tls_dir is not None or self.tunnel.tls_name is not None:
            raise ConfigError("--code takes the place of certificates; leave --tls-dir and --tls-name out")
        self._refuse_far()
        parse(self.connect, Role.CONNECT)

    def _refuse_far(self) -> None:
        if self.far != FarSettings():
            options = "--far-qmp, --far-target, --port-range, --through-ssh, --remote-command and --no-push"
            raise ConfigError(f"{options} are for ssh://HOST")

    @property
    def by_ssh(self) -> SSHAddress | None:
        """The host to reach by ssh; None for an endpoint of a daemon that listens already."""
        return SSHAddress.parse(self.connect) if is_ssh(self.connect) else None

    @property
    def peer_name(self) -> str | None:
        """
        The name that the destination's certificate must have; None without TLS.

        It is ``tls_name``, or else the host of ``connect``; settings with neither are refused.
        """
        return self._name_to_verify()

    def _name_to_verify(self) -> str | None:
        if not self.tunnel.encrypted or is_ssh(self.connect):
            return None
        name = self.tunnel.tls_name or host_of(self.connect)
        if not name:
            raise ConfigError(f"{self.connect}: no host name to verify; give --tls-name")
        return verify_name(name)


@frozen(kw_only=True)
class SourceSettings(Dialling):
    """
    A source daemon that forwards local sockets to targets of the destination.

    ``urgent`` targets go first under a bandwidth limit, and their channels reach them in the order in which they were made. ``limits``
    bounds what local programs can open. ``drain_timeout``: the seconds that channels under way have for their end when the daemon is
    stopped.
    """

    forwards: tuple[Forward, ...]
    urgent: tuple[str, ...] = ()
    limits: LocalLimits = field(factory=LocalLimits)
    drain_timeout: float = field(default=600.0, validator=_DRAIN)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.by_ssh is not None:
            for forward in self.forwards:
                if forward.target not in (target.name for target in self.far.targets):
                    raise ConfigError(f"{forward.endpoint} leads to target {forward.target}, which no --far-target names")
        for target in self.urgent:
            if target not in (forward.target for forward in self.forwards):
                raise ConfigError(f"urgent: no forward leads to target {target}")
        _refuse_repeated((forward.endpoint for forward in self.forwards), "listens on {} twice")
        for forward in self.forwards:  # the tunnel's TLS does not protect it: a client that reaches it is through
            if not (forward.address.local or self.tunnel.insecure):
                raise ConfigError(
                    f"{forward.endpoint}: others could reach target {forward.target} through it; bind it to loopback, or give --insecure"
                )


@frozen(kw_only=True)
class DestinationSettings:
    """
    A destination daemon: its endpoint, and the targets and VMs that it serves. Nothing else can be reached through it.

    A pattern among ``vms`` serves those whose sockets exist when a source asks for them. ``libvirt`` is the URI of the libvirt that
    receives VMs of libvirt's, empty for none; ``admit`` are the directories whose files they may use besides those of storage pools, None
    for all that this user may.

    ``allow`` has rules for the names in sources' certificates, or their texts; without any, all of the CA's are admitted. ``limits`` bounds
    its load, ``max_arrivals`` how many VMs arrive at a time. ``drain_timeout``: the seconds that memory, handovers and channels under way
    have for their end when the daemon is stopped.
    """

    tunnel: TunnelSettings = TunnelSettings()
    listen: str
    targets: tuple[Target | FactoryTarget, ...] = ()
    vms: tuple[VM | VMPattern, ...] = ()
    libvirt: str = ""
    admit: tuple[str, ...] | None = ()
    allow: tuple[Rule | str, ...] = ()
    limits: Limits = field(factory=Limits)
    drain_timeout: float = field(default=600.0, validator=_DRAIN)
    max_arrivals: int = 100

    def __attrs_post_init__(self) -> None:
        self.tunnel.check_exposure(self.listen, Role.LISTEN)
        if self.allow and not self.tunnel.encrypted:
            raise ConfigError("--allow needs --tls-dir: without TLS there are no certificates")
        _refuse_repeated((target.name for target in self.targets), "has two targets named {}")
        for name in BUILT_IN.intersection(target.name for target in self.targets):
            raise ConfigError(f"a target cannot be named {name}: nbdtun uses that name itself")
        _refuse_repeated((vm.name for vm in self.vms if isinstance(vm, VM)), "has two VMs named {}")
        served = {one.name for one in (*self.targets, *self.vms) if not isinstance(one, VMPattern)}
        found = bool(self.libvirt) or any(isinstance(vm, VMPattern) for vm in self.vms)  # it may serve a VM of any name
        for rule in AllowList(self.allow).rules:
            if rule.only is not None and rule.only not in served and not found:
                raise ConfigError(f"--allow {rule.only}=...: this daemon has no target or VM of that name")
        if self.admit and not self.libvirt:
            raise ConfigError("--admit is for --libvirt")
        if not self.targets and not self.vms and not self.libvirt:
            raise ConfigError("a destination needs at least one --target or --vm to serve, or --libvirt")


@frozen(kw_only=True)
class MigrateSettings(Dialling):
    """
    One migration: the source VM's QMP socket, and how to migrate it.

    ``answers`` say what differs at a host where the destination is made, by ssh or a code.
    """

    qmp: str = field(converter=check_socket_path)
    migration: MigrationSettings
    answers: Answers = field(factory=Answers)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        check_name(self.migration.vm)
        for one in self.answers.maps:
            if not one.here.startswith("/"):
                raise ConfigError(f"--map {one.here}={one.there}: names are mapped with --libvirt; without, use absolute paths")
        if self.answers != Answers() and ((self.by_ssh is None and self.code is None) or self.far.qmp):
            raise ConfigError("--map, --set, --disk NODE=PATH and their like are for --to ssh://HOST or --code, where no QEMU waits")


def _refuse_repeated(values: Iterable[str], sentence: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ConfigError("this daemon " + sentence.format(value))
        seen.add(value)
