"""A destination that a code leads to: from its code to settings in which both ends have each other's certificate."""

from __future__ import annotations

from typing import TypeVar

from attrs import evolve

from nbdtun.config.settings import Dialling
from nbdtun.errors import TLSError
from nbdtun.process import Reactor
from nbdtun.reach.codes.offer import take_offer
from nbdtun.service.tunnel.build import make_client
from nbdtun.tls.certificate import Kind, names_of
from nbdtun.tls.throwaway import SOURCE, Identity
from nbdtun.tls.trust import Pinned

D = TypeVar("D", bound=Dialling)


async def introduced(reactor: Reactor, settings: D) -> D:
    """
    Take the offer of the destination by the settings' code, which is used up then; returns settings for its links.

    :raise WrongCode: the code is not the destination's, or somebody is in between.
    :raise NbdtunError: the destination cannot be reached, or offers nothing.
    """
    assert settings.code is not None
    identity = Identity.make(SOURCE)
    certificate = await take_offer(reactor, make_client(reactor, settings.connect), identity, settings.code)
    context = identity.asking(certificate)
    names = [each.value for each in names_of(certificate) if each.kind is Kind.DNS]
    if len(names) != 1:
        raise TLSError(f"{settings.connect}: its certificate has {len(names)} DNS names instead of one")
    return evolve(settings, code=None, tunnel=evolve(settings.tunnel, trust=Pinned(lambda: context), tls_name=names[0]))
