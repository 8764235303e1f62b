"""
The options that the command, the daemons, their configuration files and the endpoint strings share. Each is declared here, once.

To add one: declare it, add it to the groups that need it, and use its value in :mod:`nbdtun.config.build`.
"""

from __future__ import annotations

from nbdtun.config.capacity import LIMITS, LOCAL_LIMITS, MAX_ARRIVALS, WORKERS
from nbdtun.config.option import Option

_SIZE, _RATE, _DURATION = "nbdtun.units:parse_size", "nbdtun.units:parse_rate", "nbdtun.units:parse_duration"
_PATH, _LISTENER = "nbdtun.config.endpoints:check_socket_path", "nbdtun.config.endpoints:check_listener"

CONNECT = Option(
    "connect",
    "Where the destination listens, such as HOST or HOST:10810; or ssh://HOST, where ssh starts it.",
    "ENDPOINT",
    "nbdtun.config.endpoints:check_destination",
)
FAR_QMP = Option(
    "far-qmp",
    "With ssh://HOST: QMP socket of the QEMU that waits there.",
    "SOCKET",
    _PATH,
    unset="/run/qemu/VM-incoming.qmp",
)
FAR_TARGET = Option(
    "far-target",
    "With ssh://HOST: a socket there that a forward leads to, such as nbd=unix:/run/qemu/nbd.sock.",
    "NAME=CLIENT-ENDPOINT",
    "nbdtun.config.values:Target.parse",
    repeatable=True,
)
PORT_RANGE = Option(
    "port-range",
    "With ssh://HOST: the ports that the far end may listen on, such as 49152-49215.",
    "FIRST-LAST",
    "nbdtun.config.values:parse_ports",
    unset="the kernel's choice",
)
THROUGH_SSH = Option(
    "through-ssh", "With ssh://HOST: send everything through ssh, without a port. Without this option, only if no port can be reached."
)
NO_PUSH = Option("no-push", "With ssh://HOST: never copy nbdtun to a host that has none, or has an incompatible one.")
REMOTE_COMMAND = Option(
    "remote-command",
    "With ssh://HOST: how the shell there runs nbdtun, such as 'sudo nbdtun' or /opt/nbdtun/bin/nbdtun.",
    "COMMAND",
    default="nbdtun",
)
QMP = Option("qmp", "QMP socket of the VM to migrate.", "SOCKET", _PATH)
TLS_DIR = Option("tls-dir", "Directory with ca-cert.pem and this end's certificate and key; `nbdtun certs` makes one.", "DIR", live=True)
TLS_LAYOUT = Option(
    "tls-layout",
    "The names of the files in --tls-dir: QEMU's, or libvirt's. With libvirt's, --tls-dir is /etc/pki if it is not given.",
    "qemu|libvirt",
    "nbdtun.config.values:parse_layout",
    "qemu",
)
TLS_PASSWORD_FILE = Option(
    "tls-password-file",
    "A file with the passphrase of this end's key.",
    "FILE",
    unset="systemd's credential tls-password, if there is one",
    live=True,
)
TLS_NAME = Option("tls-name", "Name that the destination's certificate must have.", "NAME", unset="the destination's host")
INSECURE = Option("insecure", "Without TLS, allow endpoints other than loopback and UNIX sockets, and other users on loopback.")
ANY_PURPOSE = Option(
    "any-purpose",
    "Also trust certificates of the other end that have no extended key usage (serverAuth, clientAuth), as old PKIs make them.",
    live=True,
)
RUN_DIR = Option("run-dir", "Directory for the sockets that nbdtun makes for itself.", "DIR", unset="/run/nbdtun, or the user's own")
SOCKET_OWNER = Option(
    "socket-owner",
    "Owner of the sockets that nbdtun makes: QEMU's user.",
    "USER[:GROUP]",
    "nbdtun.config.values:Owner.parse",
)
BANDWIDTH = Option("bandwidth", "Limit for all channels together, such as 500MiB or 100Mbit/s.", "RATE", _RATE, unset="no limit", live=True)
WINDOW = Option(
    "window", "The most unacknowledged bytes per channel and direction, kept to be sent again after a lost link.", "SIZE", _SIZE, "64MiB"
)
LINK_TIMEOUT = Option("link-timeout", "Silence after which a link counts as lost.", "TIME", _DURATION, "15s")
RESUME_WINDOW = Option("resume-window", "How long to try to restore a lost link before its channel fails.", "TIME", _DURATION, "300s")
HANDSHAKE_TIMEOUT = Option("handshake-timeout", "How long a new connection may take to become a link.", "TIME", _DURATION, "10s")
DRAIN_TIMEOUT = Option(
    "drain-timeout",
    "After SIGTERM, how long to wait for memory, handovers and channels that are under way. 0s: not at all.",
    "TIME",
    _DURATION,
    "10min",
    live=True,
)
RECORDS = Option(
    "records",
    "How TLS records are made: batched, sixteen at a time, by nbdtun; or library, by OpenSSL or the kernel. Each end chooses for itself.",
    "batched|library",
    "nbdtun.config.values:parse_records",
    "batched",
)
DISK = Option(
    "disk",
    "Disk to migrate, by the name of its node, drive or device. With a path: where its image is made, and in which format.",
    "NODE[=PATH[,format=FORMAT]]",
    unset="all writable disks",
    repeatable=True,
)
ALLOW_MISMATCH = Option(
    "allow-mismatch",
    "Accept this difference between the two machines: a name that `nbdtun check` reports, such as cpu or a device's id.",
    "NAME",
    repeatable=True,
)
LEAVE_BEHIND = Option(
    "leave-behind",
    "Migrate without the images' internal snapshots or persistent bitmaps, instead of refusing: snapshots, bitmaps, or both.",
    "NAME,...",
    "nbdtun.config.belongings:parse_belongings",
    repeatable=True,
)
CONNECTIONS = Option(
    "connections", "Connections that carry the memory at a time (multifd).", "COUNT", "nbdtun.units:parse_count", unset="one"
)
DOWNTIME = Option("downtime", "Guest downtime that QEMU aims for.", "TIME", _DURATION, "300ms")
CONVERGE = Option(
    "converge",
    "How to finish if the guest changes data faster than it can be copied: write-blocking, auto-converge, downtime, or several of them.",
    "NAME,...",
    "nbdtun.config.timeouts:parse_strategies",
)
MAX_DOWNTIME = Option("max-downtime", "Upper limit for --downtime when --converge downtime raises it.", "TIME", _DURATION, "5s")
TIMEOUT = Option(
    "timeout",
    "Time limit for the migration, such as 2h, or for one of its phases, such as mirror=2h. none: no limit.",
    "[PHASE=]TIME",
    "nbdtun.config.timeouts:parse_timeout",
    unset="prepare=5min, ready=5min, switchover=2min",
    repeatable=True,
)
STALL_TIMEOUT = Option(
    "stall-timeout",
    "How long the copy may make no progress while the link is up. none: no limit.",
    "TIME",
    "nbdtun.config.timeouts:parse_limit",
    "5min",
)
ON_TIMEOUT = Option(
    "on-timeout",
    "What --timeout does while disks or memory are copied: cancel the migration, or force its end by pausing the guest.",
    "cancel|force",
    "nbdtun.config.timeouts:parse_on_timeout",
    "cancel",
)
SETTLE = Option(
    "settle",
    "How long the guest is watched at the destination before the source QEMU is ended; 0s: not at all.",
    "TIME",
    _DURATION,
    "2s",
)
HOLD = Option(
    "hold", "Wait until `nbdtun set VM --switchover now`, with all disks in sync and the memory sent as far as it can be. The guest runs."
)
_MOMENT = "Wait before the switchover as with --hold, until this time, such as 02:00 or 2026-12-24T02:00."
SWITCHOVER = Option("switchover", _MOMENT, "TIME", "nbdtun.config.moments:parse_moment", unset="as soon as possible")
KEEP_SOURCE = Option("keep-source", "Leave the source QEMU paused instead of ending it.")

CODE = Option(
    "code",
    "The code that `nbdtun receive` prints at the destination, instead of certificates. It is valid until the VM has arrived, or somebody "
    "has used a wrong one.",
    "CODE",
    "nbdtun.reach.codes.words:parse_code",
)
_WAITING = "/run/qemu/VM-incoming.qmp, or one that is made"
INCOMING = Option("incoming", "QMP socket of the QEMU that waits for the VM; then none is made.", "SOCKET", _PATH, unset=_WAITING)
WITHIN = Option("within", "How long to wait for a source.", "TIME", _DURATION, "10min")
LISTEN = Option("listen", "Where to listen for sources, such as 10810 or ADDRESS:10810.", "ENDPOINT", _LISTENER)
TARGET = Option(
    "target",
    "Let sources reach a socket by a name, such as nbd=unix:/run/qemu/nbd.sock.",
    "NAME=CLIENT-ENDPOINT",
    "nbdtun.config.values:Target.parse",
    repeatable=True,
    live=True,
)
VM = Option(
    "vm",
    "Receive a VM of this name in the QEMU with this QMP socket, such as web1=/run/qemu/web1-incoming.qmp; or all VMs whose sockets are "
    "found when they are asked for, such as *=/run/qemu/{vm}-incoming.qmp.",
    "NAME=PATH",
    "nbdtun.config.values:parse_vm",
    repeatable=True,
    live=True,
)
ALLOW = Option(
    "allow",
    "Admit only sources whose certificate has a matching name; TYPE is dns (the default), uri, ip, email or cn. * matches within a part of "
    "a name. With NAME=, to this target or VM only.",
    "[NAME=][TYPE:]PATTERN",
    "nbdtun.tunnel.destination.allowlist:Rule.parse",
    unset="every certificate of the CA",
    repeatable=True,
    live=True,
)
FORWARD = Option(
    "forward",
    "Forward a socket to a target of the destination, such as nbd=unix:/run/nbdtun/nbd.sock:mode=660.",
    "TARGET=SERVER-ENDPOINT",
    "nbdtun.config.values:Forward.parse",
    repeatable=True,
    live=True,
)
URGENT = Option(
    "urgent",
    "Send this target's channels ahead of the others under --bandwidth, such as memory ahead of disks. They reach it in their own order.",
    "TARGET",
    repeatable=True,
    live=True,
)
LIBVIRT = Option(
    "libvirt",
    "For VMs of libvirt's: libvirt migrates them, see docs/libvirt. Without a URI: qemu:///system.",
    "[URI]",
    "nbdtun.config.libvirt:check_uri",
    alone="qemu:///system",
)
ADMIT = Option(
    "admit",
    "With --libvirt: a directory whose files the VMs that arrive may use as disks, besides those of libvirt's storage pools.",
    "DIR",
    "nbdtun.config.libvirt:check_directory",
    repeatable=True,
    live=True,
)
DEST_XML = Option(
    "dest-xml",
    "With --libvirt: a file with the XML of the VM as it is to be at the destination, from `virsh dumpxml --migratable`.",
    "FILE",
    "nbdtun.config.libvirt:read_xml",
)
MIGRATE = Option("migrate", "Migrate the VM that the destination knows by this name.", "VM", "nbdtun.config.values:check_name")

#: The far end that ssh starts.
FAR = (FAR_QMP, PORT_RANGE, THROUGH_SSH, REMOTE_COMMAND, NO_PUSH)
MAP = Option(
    "map",
    "At the destination, replace this prefix of each path in QEMU's command line, such as /srv/vm=/data/vm. With --libvirt: of each path "
    "in the VM's XML, or the name of a bridge, network or pool, such as br0=br1.",
    "OLD=NEW",
    "nbdtun.config.answers:parse_map",
    repeatable=True,
)
SET = Option(
    "set",
    "Change an option of QEMU's command line, such as netdev.net0.ifname=tap7 or vnc.vnc=:7; emulator=PATH names the program.",
    "GROUP.ID.KEY=VALUE",
    repeatable=True,
)
ANSWERS = Option("answers", "Read --map, --disk and --set from a file, with lines such as `map /srv/vm=/data/vm`.", "FILE")
OVERWRITE = Option("overwrite", "Overwrite images, block devices and logs at the destination that hold data. Never the source's own image.")
KEEP_BACKING = Option(
    "keep-backing", "Keep backing files, which must be at the destination with the same content. Without this option, copies are whole."
)
UNIT = Option("unit", "Start QEMU as a transient systemd unit, nbdtun-VM.service, instead of a process of its own.")

METRICS = Option(
    "metrics", "Where Prometheus finds /metrics, /healthz and /readyz, such as 127.0.0.1:9810.", "ENDPOINT", _LISTENER, unset="nowhere"
)
CONFIG = Option(
    "config",
    "A file with options by their names, in TOML. An option on the command line wins. none: no file.",
    "FILE",
    unset="/etc/nbdtun/dest.toml, or source.toml, if it is there",
)
LOG_FORMAT = Option(
    "log-format", "How to write the log. twistd has options of its own.", "text|json", "nbdtun.config.values:parse_log_format", "text"
)
LOG_LEVEL = Option(
    "log-level",
    "The lowest level to log: debug, info, warn, error or critical. twistd logs from info on.",
    "LEVEL",
    "nbdtun.config.values:parse_log_level",
    "info",
    live=True,
)

#: Of a destination that is made.
MAKING = (MAP, SET, ANSWERS, OVERWRITE, KEEP_BACKING, UNIT)
#: Of a migration that libvirt does.
DOMAIN = (LIBVIRT, DEST_XML)
#: How the two ends authenticate each other.
TRUST = (TLS_DIR, TLS_LAYOUT, TLS_PASSWORD_FILE, ANY_PURPOSE, INSECURE)
#: The terms of the tunnel's channels.
TERMS = (WINDOW, LINK_TIMEOUT, RESUME_WINDOW, HANDSHAKE_TIMEOUT, RECORDS)
#: For a process that makes sockets for other programs.
SOCKETS = (RUN_DIR, SOCKET_OWNER)
#: Of a daemon as a process.
PROCESS = (CONFIG, LOG_FORMAT, LOG_LEVEL)
#: Of both daemons.
TUNNEL = (*TRUST, *SOCKETS, *TERMS, BANDWIDTH, METRICS)
#: How to migrate.
_MEANS = (DISK, ALLOW_MISMATCH, LEAVE_BEHIND, CONNECTIONS, DOWNTIME, CONVERGE, MAX_DOWNTIME)
MIGRATION = (*_MEANS, TIMEOUT, STALL_TIMEOUT, ON_TIMEOUT, HOLD, SWITCHOVER, SETTLE)
#: Of a destination daemon.
DESTINATION = (LISTEN, TARGET, VM, LIBVIRT, ADMIT, ALLOW, *TUNNEL, DRAIN_TIMEOUT, MAX_ARRIVALS, *LIMITS, WORKERS)
#: Of a source daemon.
SOURCE = (
    CONNECT,
    *FAR,
    FAR_TARGET,
    TLS_NAME,
    FORWARD,
    URGENT,
    MIGRATE,
    QMP,
    KEEP_SOURCE,
    *MIGRATION,
    *TUNNEL,
    DRAIN_TIMEOUT,
    *LOCAL_LIMITS,
    WORKERS,
)
