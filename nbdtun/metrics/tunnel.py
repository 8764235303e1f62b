"""The metrics of one end of a tunnel: channels, links, bytes, and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import Metric

from nbdtun.errors import TunnelError, tree
from nbdtun.metrics.families import counter, gauge
from nbdtun.tunnel.channels.ledger import Account
from nbdtun.tunnel.destination.server import Destination
from nbdtun.tunnel.source.client import Source

Tunnel = Source | Destination

#: The codes with which a connection can be refused; each is there from the beginning, so that Prometheus sees the first refusal, too.
REASONS: Final = tuple(sorted({error.code for error in tree(TunnelError)}))


def of(tunnel: Tunnel) -> Iterator[Metric]:
    """All of them."""
    yield from _channels(tunnel.ledger.accounts)
    yield from _links(tunnel)
    yield from _windows(tunnel)
    yield from _limits(tunnel)
    refused = tunnel.refusals.codes
    yield counter("refused", "Connections refused, by the code of the reason.", {(code,): refused[code] for code in REASONS}, "reason")


def _channels(accounts: Mapping[str, Account]) -> Iterator[Metric]:
    yield gauge("channels", "Open channels.", {(kind,): each.open for kind, each in accounts.items()}, "target")
    ended = {(kind, "complete"): each.ended - each.failed for kind, each in accounts.items()}
    ended |= {(kind, "failed"): each.failed for kind, each in accounts.items()}
    yield counter("channels_ended", "Channels that have ended.", ended, "target", "outcome")
    carried = {(kind, "sent"): each.sent for kind, each in accounts.items()}
    carried |= {(kind, "received"): each.received for kind, each in accounts.items()}
    yield counter("channel_bytes", "Bytes that have arrived at the other end, or here.", carried, "target", "direction")


def _links(tunnel: Tunnel) -> Iterator[Metric]:
    contact, whole = tunnel.runtime.contact, tunnel.ledger.whole
    yield gauge("links", "Channels that have a link now.", sum(channel.figures.linked for channel in tunnel.channels))
    yield counter("links_lost", "Links lost.", contact.losses)
    yield counter("links_resumed", "Lost links that were replaced by another.", whole.resumes)
    yield counter("replayed_bytes", "Bytes sent again, because a link was lost.", whole.replayed)
    yield counter("outages", "Times without a link; all links that one cut has taken are one.", contact.outages)
    yield counter("outage_seconds", "Seconds in which at least one channel had no link.", contact.down)
    yield gauge("outage_age_seconds", "Seconds for which a channel has had no link by now; 0 while all have one.", tunnel.lost_for or 0.0)


def _windows(tunnel: Tunnel) -> Iterator[Metric]:
    sending = [channel.figures for channel in tunnel.channels]
    yield gauge("window_used_bytes", "Bytes kept to be sent again, over all channels.", sum(each.kept for each in sending))
    yield gauge("window_limit_bytes", "The most that they keep now; it grows with the line.", sum(each.limit for each in sending))
    yield gauge("window_bytes", "The most that they may ever keep.", sum(each.window for each in sending))
    if (rate := tunnel.runtime.throttle.rate) is not None:
        yield gauge("bandwidth_limit_bytes_per_second", "The limit for all channels together; absent where there is none.", rate)


def _limits(tunnel: Tunnel) -> Iterator[Metric]:
    usage = tunnel.users.usage if isinstance(tunnel, Source) else tunnel.usage
    text = "How much of a limit is used; for each peer or user, by the one that uses the most."
    yield gauge("limit_used", text, {(name,): used for name, (used, _) in usage.items()}, "limit")
    yield gauge("limit", "The limit, by its option.", {(name,): most for name, (_, most) in usage.items()}, "limit")
