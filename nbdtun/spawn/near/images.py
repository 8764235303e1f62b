"""
The images that QEMU has open, from ``query-block`` and ``query-named-block-nodes``.

QEMU facts (7.2 and 10.0): ``cluster-size`` is the image's, ``format-specific`` has what else ``qemu-img create`` can set again. A node's
``file`` is the file of the lowest one, as the command line or the overlay had it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.spawn.rewrite.source import Node

_FLAGS = {True: "on", False: "off"}


async def images(monitor: Monitor) -> tuple[Node, ...]:
    """
    Query QEMU for its images: first those of drives.

    :raise MonitorError: QEMU does not answer.
    """
    drives = await monitor.execute("query-block")
    nodes = await monitor.execute("query-named-block-nodes")
    return (*_drives(drives), *(_node(told) for told in nodes))


def _drives(told: list[Mapping[str, Any]]) -> Iterator[Node]:
    for drive in told:
        if inserted := drive.get("inserted"):
            yield _node(inserted, drive.get("device", ""), drive.get("qdev", ""), drive=True)


def _node(told: Mapping[str, Any], device: str = "", qdev: str = "", *, drive: bool = False) -> Node:
    image = told.get("image", {})
    below = image.get("backing-image")
    return Node(
        name=told.get("node-name", ""),
        format=told.get("drv", ""),
        file=_file(told.get("file", "")),
        size=image.get("virtual-size", 0),
        device=device,
        qdev=qdev,
        read_only=bool(told.get("ro")),
        allocated=_allocated(image),
        options=_options(image),
        unfit=_unfit(told, image),
        chain=tuple(_chain(image)),
        backing_format=below.get("format", "") if below else "",
        drive=drive,
    )


def _file(text: str) -> str:
    """The path of the file: QEMU writes ``json:`` where a node has options that no file name can say."""
    if not text.startswith("json:"):
        return text
    try:
        told = json.loads(text.removeprefix("json:"))
        while isinstance(told, dict) and "file" in told:
            told = told["file"]
        return str(told["filename"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return text


def _chain(image: Mapping[str, Any]) -> Iterator[str]:
    while below := image.get("backing-image"):
        yield below.get("filename", "")
        image = below


def _allocated(image: Mapping[str, Any]) -> int:
    taken, layer = 0, image
    while layer:
        taken += layer.get("actual-size", 0)
        layer = layer.get("backing-image", {})
    return taken


def _options(image: Mapping[str, Any]) -> dict[str, str]:
    """The options of ``qemu-img create`` for an image like this one."""
    if image.get("format") != "qcow2":
        return {}
    data = image.get("format-specific", {}).get("data", {})
    found = {"compat": data.get("compat", "1.1"), "cluster_size": f"{image.get('cluster-size', 65536)}"}
    if found["compat"] != "0.10":
        found["lazy_refcounts"] = _FLAGS[bool(data.get("lazy-refcounts"))]
        found["refcount_bits"] = f"{data.get('refcount-bits', 16)}"
        if data.get("extended-l2"):
            found["extended_l2"] = "on"
        if data.get("compression-type", "zlib") != "zlib":
            found["compression_type"] = data["compression-type"]
    return found


def _unfit(told: Mapping[str, Any], image: Mapping[str, Any]) -> str:
    """The reason why no image can be made like it; empty if one can."""
    if told.get("encrypted") or image.get("encrypted") or told.get("drv") == "luks":
        return "it is encrypted, and nbdtun does not have its secret; make its image there, and start the destination by hand"
    if image.get("format-specific", {}).get("data", {}).get("data-file"):
        return "its data are in a file of their own; make both there, and start the destination by hand"
    return ""
