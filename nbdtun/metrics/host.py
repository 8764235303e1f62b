"""The metrics of the process and its certificates."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric

from nbdtun import __version__
from nbdtun.metrics.families import gauge
from nbdtun.service.local.expiries import expiries
from nbdtun.tls.store import Store


def of(store: Store | None, certificate: str) -> Iterator[Metric]:
    """The release, and until when the files in ``store`` are valid, of which ``certificate`` is this end's."""
    yield gauge("build_info", "The release of nbdtun.", {(__version__,): 1}, "version")
    text = "When a certificate expires, or a revocation list is to be replaced."
    ends = {(name,): end for name, end in expiries(store, certificate).items()}
    yield gauge("certificate_expiry_timestamp_seconds", text, ends, "file")
