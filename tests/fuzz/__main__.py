"""
``make fuzz``: atheris, which is guided by coverage, looks for bytes that break a target, for MINUTES in all.

What it finds is kept in ``.cache/fuzz/TARGET``, where the next run begins; a crash is told with the file that has it, and
``python -m tests.fuzz TARGET FILE`` plays it again.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

CORPUS = Path(__file__).parent.parent.parent / ".cache/fuzz"
LONGEST = 256 * 1024


def fuzz(name: str, arguments: list[str]) -> None:
    """Run one target in this process, until libFuzzer has had enough; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["nbdtun", "twisted.protocols.amp"]):
        from tests.fuzz.seeds import SEEDS
        from tests.fuzz.targets import TARGETS

    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def every(minutes: float) -> int:
    """Run all targets one after the other, each for its share of the time; 1 if one of them broke."""
    from tests.fuzz.targets import TARGETS

    broken = []
    for name in TARGETS:
        corpus = CORPUS / name
        seconds = max(1, round(minutes * 60 / len(TARGETS)))
        limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=30", "-rss_limit_mb=1024"]
        places = [f"{corpus}", f"-artifact_prefix={CORPUS}/{name}-"]
        print(f"--- {name}", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", name, *places, *limits]
        if subprocess.run(command, check=False).returncode:
            broken.append(name)
    print(f"broken: {', '.join(broken)}" if broken else "nothing was broken")
    return bool(broken)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", help="run this one in this process; what follows is libFuzzer's")
    parser.add_argument("--minutes", type=float, default=5)
    options, rest = parser.parse_known_args()
    if importlib.util.find_spec("atheris") is None:
        print("fuzzing is skipped: atheris is not installed (pip install 'nbdtun[fuzz]')")
        return 0
    if options.target is None:
        return every(options.minutes)
    fuzz(options.target, rest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
