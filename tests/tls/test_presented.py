"""What an end has presented: the chain that was verified, and the protocol that was agreed on."""

from __future__ import annotations

from collections.abc import Callable

from nbdtun.tls import contexts
from nbdtun.tls.presented import PROTOCOL
from tests.tls.stage.conversation import Conversation, Directory


def test_both_ends_have_each_others_chain_and_protocol(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    talked = talk(contexts.server_context(d), contexts.client_context(d))
    for end in (talked.server, talked.client):
        assert end.presented is not None
        assert end.presented.protocol == PROTOCOL
        assert len(end.presented.chain) == 2
        assert end.presented.certificate == end.presented.chain[0]
        assert contexts.fingerprint(end.presented.certificate) == end.identity


def test_another_service_has_agreed_on_nothing(directory: Directory, talk: Callable[..., Conversation]) -> None:
    d = directory()
    other = contexts.server_context(d)
    other.set_alpn_protocols(["http/1.1"])
    talked = talk(other, contexts.client_context(d))
    assert talked.client.presented is not None
    assert talked.client.presented.protocol is None
