"""Where it was measured, and what: the machine, and the versions of everything."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

from bench.peers.pair import program

VERSIONS = {
    "fio": ["fio", "--version"],
    "nbdkit": ["nbdkit", "--version"],
    "qemu": ["qemu-system-x86_64", "--version"],
    "socat": ["socat", "-V"],
    "ssh": ["ssh", "-V"],
    "stunnel": ["stunnel", "-version"],
    "haproxy": ["haproxy", "-v"],
}
_PRODUCT = "import nbdtun, sys; print(nbdtun.__version__, nbdtun.__path__[0])"
_LIBRARIES = "import ssl, twisted; print(twisted.__version__); print(ssl.OPENSSL_VERSION)"


def describe() -> dict[str, object]:
    """For the report."""
    twisted, openssl = _python(_LIBRARIES).splitlines()
    versions = {name: version for name, command in VERSIONS.items() if (version := _version(command))}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "kernel_tls": Path("/sys/module/tls").exists() or "tls" in _available_protocols(),
        "nbdtun": product(),
        "versions": {"python": platform.python_version(), "twisted": twisted, "openssl": openssl, **versions},
    }


def product() -> str:
    """The version of the nbdtun that the daemons here are, and its commit if it is a checkout."""
    version, package = _python(_PRODUCT).split(maxsplit=1)
    git = ["git", "-C", f"{Path(package).parent}", "describe", "--always", "--dirty"]
    done = subprocess.run(git, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return f"{version} {done.stdout.strip()}".strip()


def _python(code: str) -> str:
    """Not in this process: the directory that it was started from comes first on its path, and not on the daemons'."""
    return subprocess.run([sys.executable, "-P", "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _version(command: list[str]) -> str:
    """The first line that has a number; empty if it is not installed."""
    path = program(command[0])
    if path is None:
        return ""
    done = subprocess.run([path, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return next((line.strip() for line in done.stdout.splitlines() if any(letter.isdigit() for letter in line)), "")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _available_protocols() -> str:
    try:
        return Path("/proc/sys/net/ipv4/tcp_available_ulp").read_text()
    except OSError:
        return ""
