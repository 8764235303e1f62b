"""From settings to the two ends of a tunnel: common to all services."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, clientFromString, serverFromString
from twisted.internet.interfaces import IStreamClientEndpoint

from nbdtun.config import SourceSettings, TunnelSettings
from nbdtun.config.addresses import is_address
from nbdtun.config.endpoints import Address, Role, parse
from nbdtun.config.settings import Dialling
from nbdtun.errors import ConfigError
from nbdtun.ownership.listening import BACKLOG, Listener
from nbdtun.ownership.reacher import Reacher
from nbdtun.process import Reactor
from nbdtun.service.local.base import base_of
from nbdtun.service.local.heritage import BUCKET, Inherited, claim
from nbdtun.service.local.listening import BothFamilies, LocalEndpoint
from nbdtun.service.tunnel.records import in_force
from nbdtun.service.tunnel.served import WhileServed
from nbdtun.tls.trust import Trust, Trusting
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.settings import Terms
from nbdtun.tunnel.source.client import Source
from nbdtun.tunnel.source.dialer import Dialer
from nbdtun.tunnel.wires.tuning import LoopbackReactor


def make_runtime(reactor: Reactor, settings: TunnelSettings) -> Runtime:
    """Make the runtime, on the terms of ``settings``."""
    terms = Terms(
        window=settings.window,
        link_timeout=settings.link_timeout,
        resume_window=settings.resume_window,
        handshake_timeout=settings.handshake_timeout,
        records=in_force(settings.records),
    )
    runtime = Runtime(reactor, terms)
    if (bucket := claim(BUCKET)) is not None:
        runtime.throttle.join(bucket)
    runtime.throttle.rate = settings.bandwidth
    return runtime


def make_trust(settings: TunnelSettings, *, server: bool) -> Trusting | None:
    """
    Make the TLS of one end; None without TLS.

    :raise ConfigError: the directory with the certificates cannot be used.
    """
    if settings.trust is not None or settings.store is None:
        return settings.trust
    return Trust(settings.store, server=server, any_purpose=settings.any_purpose)


def retrust(trust: Trusting | None, before: TunnelSettings, now: TunnelSettings) -> None:
    """
    Let ``trust`` be that of the settings of ``now``, and look at its files if they are where they were.

    :raise ConfigError: the certificates cannot be used; those from before stay in use.
    """
    if isinstance(trust, Trust) and now.store is not None:
        if (before.store, before.any_purpose) == (now.store, now.any_purpose):
            trust.context()
        else:
            trust.move(now.store, any_purpose=now.any_purpose)


def make_source(reactor: Reactor, settings: Dialling, *, one_daemon: bool = False) -> Source:
    """
    Make the source's end of the tunnel; nothing is dialled yet. ``one_daemon``: nothing goes on with another daemon than the first.

    :raise ConfigError: the directory with the certificates cannot be used.
    """
    tunnel = settings.tunnel
    tls = make_trust(tunnel, server=False)
    endpoint, runtime = make_client(reactor, settings.connect), make_runtime(reactor, tunnel)
    if one_daemon:
        endpoint = WhileServed(reactor, endpoint, settings.connect, runtime.contact)
    dialer = Dialer(runtime, endpoint, settings.connect, tls, settings.peer_name or "", insecure=tunnel.insecure)
    return Source(dialer, settings.limits if isinstance(settings, SourceSettings) else None)


def make_client(reactor: Reactor, text: str) -> IStreamClientEndpoint:
    """
    Make the client endpoint that ``text`` describes.

    :raise ConfigError: the plugin that has endpoints of its kind makes none of it.
    """
    address = parse(text, Role.CONNECT)
    if address.path is not None:
        return Reacher(reactor, address.path)
    if address.host is None or address.port is None or address.local or is_address(address.host):
        endpoint: IStreamClientEndpoint = _made(clientFromString, reactor, address)
        return endpoint
    timeout, bind = address.named.get("timeout", "30"), address.named.get("bindAddress")
    return HostnameEndpoint(reactor, address.host, address.port, int(timeout), (bind, 0) if bind else None)  # tcp: looks up IPv4 only


def make_listener(reactor: Reactor, address: Address, tunnel: TunnelSettings) -> LocalEndpoint:
    """
    Make the endpoint that a daemon listens on; a UNIX socket gets the settings' mode unless its own string has one.

    The run directory's base is made for a socket in it: at the first start after a boot, nothing else has made it.
    A daemon that takes another's place goes on with the socket that it has from there.

    :raise ConfigError: the plugin that has endpoints of its kind makes none of it.
    """
    found = claim(address.text)
    if address.path is None and found is not None:
        return LocalEndpoint(Inherited(reactor, found), address.text)
    if address.path is None:
        if address.host == "" and address.port is not None:
            return LocalEndpoint(BothFamilies(reactor, address.port, address.backlog or BACKLOG), address.text)
        return LocalEndpoint(_made(serverFromString, reactor, address), address.text)
    mode = tunnel.socket_mode if address.mode is None else address.mode
    owner = tunnel.socket_owner
    listener = Listener(reactor, address.path, mode, (owner.uid, owner.gid) if owner else None, address.backlog or BACKLOG)
    folder, base = os.path.dirname(os.path.abspath(address.path)), f"{base_of(tunnel.run_dir)}"
    return LocalEndpoint(listener if found is None else Inherited(reactor, found, listener), address.text, folder if folder == base else "")


def _made(make: Callable[[Any, str], Any], reactor: Reactor, address: Address) -> Any:
    """What a parser of Twisted's, or of a plugin's, makes of an endpoint; nothing was checked but its kind."""
    try:
        return make(_reactor_for(reactor, address), address.endpoint)
    except Exception as error:  # none of them documents its errors
        remedy = "is it started by its socket unit?" if address.kind == "systemd" else ""
        raise ConfigError(f"{address.text}: no such endpoint can be made ({type(error).__name__}: {error})", remedy) from error


def _reactor_for(reactor: Reactor, address: Address) -> Any:
    return LoopbackReactor(reactor) if address.kind == "tcp" and address.local else reactor
