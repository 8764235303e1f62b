"""Network backends: ``-netdev``, ``-nic`` and ``-net``."""

from __future__ import annotations

import re
from typing import Final

from nbdtun.spawn.command.line import Option
from nbdtun.spawn.command.params import Params
from nbdtun.spawn.rewrite.draft import Draft
from nbdtun.spawn.values import Interface, Network, Path, Role

#: Types that need nothing from the host, or whose character device is looked at by itself.
_FREE: Final = frozenset({"none", "nic", "hubport", "l2tpv3", "vhost-user", "vde"})
_HOST: Final = {
    "vhost-vdpa": "it passes a device of this host through",
    "netmap": "it uses an interface of this host's netmap",
    "af-xdp": "it uses an interface of this host",
}
_FORWARD: Final = re.compile(r"(tcp|udp)?:([^:]*):(\d+)-")
BRIDGE: Final = "br0"  # QEMU's own default
VHOST_NET: Final = "/dev/vhost-net"


def network(draft: Draft, option: Option) -> Option:
    """Rewrite one of them."""
    params = option.params
    kind = params.get("type")
    if kind == "user":
        params = draft.placed(params, {"tftp": Role.DIRECTORY, "smb": Role.DIRECTORY})
        _forwards(draft, params)
    elif kind in ("tap", "bridge"):
        params = _tap(draft, params, kind)
    elif kind == "socket":
        host, _, port = params.get("listen").rpartition(":")
        draft.listen(host, port)
    elif kind in ("stream", "dgram"):
        params = _stream(draft, params)
    elif kind in _HOST:
        draft.refuse(_HOST[kind])
    elif kind not in _FREE:
        draft.refuse(f"the network {kind!r} is not known to nbdtun")
    if kind == "vde":
        params = draft.placed(params, {"sock": Role.DIRECTORY})
    known = ("tftp", "smb", "script", "downscript", "helper", "sock", "addr.path", "local.path", "remote.path", "bootfile")
    draft.strict(params, known)
    return option.with_(params)


def _forwards(draft: Draft, params: Params) -> None:
    for pair in params.pairs:
        found = _FORWARD.match(pair.text) if "hostfwd" in pair.key else None
        if found:
            draft.listen(found[2], found[3], udp=found[1] == "udp")


def _setting(draft: Draft, key: str) -> str:
    named = f"{draft.option.id}." if draft.option.id else ""
    return f"{draft.option.name}.{named}{key}"


def _tap(draft: Draft, params: Params, kind: str) -> Params:
    where = draft.option.where
    if params.get("ifname"):
        draft.interfaces.append(Interface(params.get("ifname"), Network.TAP, where, _setting(draft, "ifname")))
    if kind == "bridge" or "helper" in params or "br" in params:
        draft.interfaces.append(Interface(params.get("br", BRIDGE), Network.BRIDGE, where, _setting(draft, "br")))
    if params.is_on("vhost"):
        draft.paths.append(Path(VHOST_NET, Role.ACCESS, where))
    scripts = {key: Role.PRESENT for key in ("script", "downscript", "helper") if params.get(key).startswith("/")}
    return draft.placed(params, scripts)


def _stream(draft: Draft, params: Params) -> Params:
    listens = params.is_on("server")
    if params.get("addr.type") == "inet" and listens:
        draft.listen(params.get("addr.host"), params.get("addr.port"))
    if params.get("local.type") == "inet":
        draft.listen(params.get("local.host"), params.get("local.port"), udp=True)
    return draft.placed(
        params, {"addr.path": Role.SOCKET if listens else Role.SERVED, "local.path": Role.SOCKET, "remote.path": Role.SERVED}
    )
