"""Metadata and packages; the tools' settings are in pyproject.toml."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build import build
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
HISTORY = HERE / "lab/version.py"  # a checkout has it; what is built of one says its version itself
CHECKOUT = runpy.run_path(str(HISTORY)) if HISTORY.exists() else {}
STATED = re.search(r'^__version__ = "(.+)"$', (HERE / "nbdtun/__init__.py").read_text(), re.MULTILINE)[1]
VERSION = CHECKOUT["version"]() if CHECKOUT else STATED

LIBVIRT = ["libvirt-python >= 9.0"]  # compiled, with libvirt-dev; any release is for all libvirts that are not newer
TESTS = [
    *LIBVIRT,
    *("pytest >= 8", "pytest-twisted >= 1.14", "pytest-xdist >= 3.5", "pytest-timeout >= 2.3", "hypothesis >= 6.100"),
    *("build", "wheel", "matplotlib >= 3.6"),
]
CHECKS = ["mypy >= 1.10", "mypy-zope >= 1.0", "ruff >= 0.5", "types-setuptools"]
DOCS = ["sphinx >= 7", "furo"]
BENCH = ["matplotlib >= 3.6", "twisted[tls] >= 24.7"]  # for its --plot; for the TLS of Twisted's own, a peer
ANSIBLE = ["ansible-core >= 2.19"]  # the collection in `ansible/` is built and tested by it
FUZZ = ["atheris >= 2.3"]  # compiled; make fuzz goes without where it cannot be installed


class Build(build):
    """Also makes the manuals and completions; they, the units and the examples of files are installed below `share`."""

    def run(self):
        super().run()
        share = Path(self.build_base, "share")
        shutil.rmtree(share, ignore_errors=True)  # pages of an earlier release
        subprocess.run([sys.executable, HERE / "docs/manuals.py", share], check=True)
        made = [(f"share/{path.parent.relative_to(share)}", str(path)) for path in sorted(share.rglob("*")) if path.is_file()]
        kept = [
            ("share/nbdtun", f"{where}/{path.name}") for where in ("systemd", "examples") for path in sorted((HERE / where).glob("*.*"))
        ]
        self.distribution.data_files = [(where, [path]) for where, path in [*made, *kept]]


class BuildPy(build_py):
    """Has the built package say its version."""

    def run(self):
        super().run()
        if CHECKOUT and not self.editable_mode:
            CHECKOUT["state"](VERSION, Path(self.build_lib))


class Sdist(sdist):
    """Has the archive say its version."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        if CHECKOUT:
            CHECKOUT["state"](VERSION, Path(base_dir))


setup(
    cmdclass={"build": Build, "build_py": BuildPy, "sdist": Sdist},
    name="nbdtun",
    version=VERSION,
    description="Live migration of running QEMU virtual machines with their disks, through one authenticated, encrypted port",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[*find_packages(include=["nbdtun", "nbdtun.*"]), "twisted.plugins"],
    package_data={"nbdtun": ["py.typed", "metrics/nbdtun.rules.yml"]},
    install_requires=[
        "attrs >= 22.2",
        "click >= 8.1",
        "cryptography >= 47",
        "prometheus_client >= 0.17",  # small, of nothing but Python, and imported with --metrics only
        "qemu.qmp >= 0.0.3",
        "rich >= 13",
        "setuptools",
        "spake2 >= 0.9",
        "twisted >= 24.7",
        "txaio >= 23.1.1",
    ],
    extras_require={
        "libvirt": LIBVIRT,
        "test": TESTS,
        "docs": DOCS,
        "bench": BENCH,
        "fuzz": FUZZ,
        "ansible": ANSIBLE,
        "dev": [*TESTS, *CHECKS, *DOCS, *ANSIBLE],
    },
    entry_points={"console_scripts": ["nbdtun = nbdtun.__main__:script"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Twisted",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: System :: Networking",
        "Typing :: Typed",
    ],
)
