"""Who may come to a receiver; with links, it is in test_receive."""

from __future__ import annotations

import pytest

from nbdtun.errors import TLSError
from nbdtun.service.sources import Sources
from nbdtun.tls.throwaway import Identity


def test_each_has_a_secret_of_its_own() -> None:
    sources, one, other = Sources(Identity.make()), Identity.make().certificate, Identity.make().certificate
    told = [sources.come(one), sources.come(other)]
    assert sources.secrets == told
    assert len(set(told)) == len(sources) == 2
    sources.leave(one)
    assert sources.secrets == told[1:]


def test_one_that_leaves_without_having_come_disturbs_nobody() -> None:
    sources = Sources(Identity.make())
    secret = sources.come(Identity.make().certificate)
    sources.leave(b"another")
    assert sources.secrets == [secret]


def test_a_certificate_that_is_none_changes_nothing() -> None:
    sources = Sources(Identity.make())
    sources.come(Identity.make().certificate)
    before = sources.trust.context()
    with pytest.raises(TLSError):
        sources.come(b"nonsense")
    assert (len(sources), sources.trust.context()) == (1, before)
