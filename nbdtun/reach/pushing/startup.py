"""
The start of the single-file executable, whose ``__main__`` it is: it unpacks itself for this Python, once, and runs the command.

Compiled modules cannot be loaded out of an archive, and twistd's plugins are found in directories only. So everything is unpacked, into a
directory of the user's cache that is named after the archive's hash.
"""

import sys

#: As in the manifest's ``pythons``.
VERSION = "%d.%d" % sys.version_info[:2]  # noqa: UP031 - older Pythons are to be told in one line


def give_up(why: str) -> None:
    """End in one line, with the status of wrong usage."""
    sys.stderr.write("nbdtun: %s [config]\n" % why)  # noqa: UP031
    sys.exit(2)


def main() -> None:
    """Unpack, and run the command."""
    archive = sys.argv[0]
    if sys.version_info < (3, 11):  # noqa: UP036
        give_up("it needs Python 3.11 or later, and this is Python %s" % VERSION)  # noqa: UP031
    import importlib
    import json
    import os
    import zipfile

    import nbdtun_cache as cache  # type: ignore[import-not-found]

    with zipfile.ZipFile(archive) as opened:
        manifest = json.loads(opened.read("manifest.json"))
        if VERSION not in manifest["pythons"]:
            give_up(f"this executable is for Python {', '.join(manifest['pythons'])}, and this is Python {VERSION}")
        if os.uname().machine != manifest["machine"]:
            give_up(f"this executable is for {manifest['machine']}, and this host is {os.uname().machine}")
        parts = ["common", VERSION]
        try:
            name = f"{manifest['contents'][:16]}-{VERSION}"
            there = cache.unpack(name, {part: opened.open(f"{part}.tar.xz") for part in parts}, manifest["unpacked"])
        except cache.Unusable as error:
            give_up(str(error))
    for path in (there, there.parent / os.path.basename(archive)):
        cache.hold(path)
    sys.path[0] = str(there)
    sys.argv[0] = os.path.abspath(archive)
    importlib.import_module("nbdtun.cli").script()


if __name__ == "__main__":
    main()
