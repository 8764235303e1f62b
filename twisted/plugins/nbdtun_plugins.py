"""The two twistd plugins of nbdtun; what they do is imported when it is asked for."""

from twisted.application.service import ServiceMaker

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
