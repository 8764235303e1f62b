"""The twistd plugins of nbdtun, and its client endpoint; their code is imported on first use."""

from twisted.application.service import ServiceMaker
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamClientEndpointStringParserWithReactor
from twisted.plugin import IPlugin
from zope.interface import implementer

source = ServiceMaker(
    "nbdtun source",
    "nbdtun.daemon.source_tap",
    "Forward local sockets, or migrate a running VM with its disks, through one encrypted port.",
    "nbdtun-source",
)

destination = ServiceMaker(
    "nbdtun destination",
    "nbdtun.daemon.dest_tap",
    "Receive forwarded sockets and migrating VMs through one encrypted port.",
    "nbdtun-dest",
)


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class Channels:
    """Parses ``nbdtun:target=NAME:connect=ENDPOINT``, followed by options of the tunnel, such as ``tls-dir=DIR``."""

    prefix = "nbdtun"

    def parseStreamClient(self, reactor, target, connect, **words) -> IStreamClientEndpoint:
        from nbdtun.service.tunnel.endpoint import endpoint_from_words

        return endpoint_from_words(reactor, target, connect, words)


channels = Channels()
