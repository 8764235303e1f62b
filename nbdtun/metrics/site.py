"""
The pages, by ``twisted.web``: ``/metrics`` for Prometheus, ``/healthz`` while the process answers, ``/readyz`` while it serves.

Every program that reaches the socket may ask. So a request has no body, a connection ends after a while, and their number is limited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.protocols.policies import WrappingFactory
from twisted.web import http
from twisted.web.http import INTERNAL_SERVER_ERROR, NOT_ALLOWED, OK, SERVICE_UNAVAILABLE
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from nbdtun.logs import make_logger

#: Connections at a time, and seconds for which one may be silent.
MAX_CONNECTIONS: Final = 32
IDLE_SECONDS: Final = 15.0

_TEXT: Final = b"text/plain; charset=utf-8"


class Asking(Request):
    """A request without a body."""

    def gotLength(self, length: int | None) -> None:
        """A body is announced: end the connection, before any of it is kept."""
        super().gotLength(0)
        if length != 0 and self.channel is not None:
            self.channel.loseConnection()


class Page(Resource):
    """What ``answer`` returns: a status, the kind of content, and the content."""

    isLeaf = True
    log = make_logger()

    def __init__(self, answer: Callable[[http.Request], tuple[int, bytes, bytes]]) -> None:
        super().__init__()
        self._answer = answer

    def render(self, request: http.Request) -> bytes:
        """Answer; to a HEAD, all but the content."""
        if request.method not in (b"GET", b"HEAD"):
            request.setResponseCode(NOT_ALLOWED)
            request.setHeader(b"allow", b"GET, HEAD")
            return b""
        try:
            status, kind, content = self._answer(request)
        except Exception:  # a bug in any collector is ours: the page names our log, where twisted.web's would name none
            self.log.failure("the metrics cannot be told")
            status, kind, content = INTERNAL_SERVER_ERROR, _TEXT, b"see the log of nbdtun\n"
        request.setResponseCode(status)
        request.setHeader(b"content-type", kind)
        request.setHeader(b"cache-control", b"no-store")
        return content if request.method == b"GET" else b""


class Root(Resource):
    """Leads to the pages."""

    def getChild(self, path: bytes, request: http.Request) -> Any:
        """There is no such page."""
        return notFound()


class Quiet(Site):
    """Logs no request: Prometheus asks every few seconds."""

    noisy = False

    def log(self, request: http.Request) -> None:
        """Nothing."""


class Few(WrappingFactory):
    """Closes connections beyond a limit at once."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return the protocol of one more, if there is room."""
        return None if len(self.protocols) >= MAX_CONNECTIONS else super().buildProtocol(addr)


def make_site(reactor: IReactorTime, registry: CollectorRegistry, unready: Callable[[], str]) -> Few:
    """Make the factory that serves what is in ``registry``; ``unready`` returns why work would not be done now, or nothing."""

    def metrics(request: http.Request) -> tuple[int, bytes, bytes]:
        encode, kind = choose_encoder((request.getHeader(b"accept") or b"").decode("ascii", "replace"))
        return OK, kind.encode(), encode(registry)

    def ready(_: http.Request) -> tuple[int, bytes, bytes]:
        why = unready()
        return (SERVICE_UNAVAILABLE, _TEXT, f"{why}\n".encode()) if why else (OK, _TEXT, b"ok\n")

    root = Root()
    root.putChild(b"", Page(lambda _: (OK, _TEXT, b"nbdtun: /metrics, /healthz, /readyz\n")))
    root.putChild(b"metrics", Page(metrics))
    root.putChild(b"healthz", Page(lambda _: (OK, _TEXT, b"ok\n")))
    root.putChild(b"readyz", Page(ready))
    return Few(Quiet(root, requestFactory=Asking, timeout=IDLE_SECONDS, reactor=reactor))
