"""Bandwidth: how near the rate of a source with `--bandwidth` comes to what it was told."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial

from bench import server
from bench.columns import Column
from bench.load import Load, run, uri
from bench.measures.measure import Measure
from bench.peers import NBDTUN_PLAIN, Peer, nbdtun
from bench.peers.pair import Pair
from bench.samples import Sample
from bench.scene import Scene
from lab.daemon import BIN

CASES = ((10, "64k", None), (500, "1M", None), (500, "1M", 10))
"""MB/s; the size of a request, so that what is in flight at the end is no part of the rate to speak of; and MB/s before it is changed."""
COLUMNS = (Column("mb_s", "MB/s", 2), Column("deviation_percent", "deviation\n%", 1))


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Once: write for 10 s at each rate."""
    seconds = 5 if scene.effort.quick else 10
    with scene.directory() as directory, server.on_socket(directory) as nbdkit:
        for rate, block, before in CASES:
            limited = Peer(NBDTUN_PLAIN.name, partial(nbdtun.start, source_options=["--bandwidth", f"{before or rate}MB"]))
            try:
                with scene.running(limited, nbdkit) as pair:
                    if before:
                        _change(pair, rate)
                    result = run(Load("write", seconds, block=block, warm_up=1), uri(pair.entrance), directory)
            except RuntimeError as error:
                if "--bandwidth" not in f"{error}":
                    raise
                scene.note(BANDWIDTH.name, "this nbdtun-source has no --bandwidth for forwarded sockets")
                return
            figures = {"mb_s": result.mb_s, "deviation_percent": (result.mb_s / rate - 1) * 100}
            case = f"--bandwidth {before}MB, then set to {rate}MB" if before else f"--bandwidth {rate}MB"
            yield Sample(BANDWIDTH.name, limited.name, 1, figures, case)


def _change(pair: Pair, rate: int) -> None:
    assert pair.source is not None
    words = ["set", f"@{pair.source.pid}", "--bandwidth", f"{rate}MB", "--run-dir", f"{nbdtun.run_dir(pair.entrance)}"]
    subprocess.run([BIN / "nbdtun", *words], check=True, stdout=subprocess.DEVNULL)


BANDWIDTH = Measure("bandwidth", "The rate limit, over 10 s", COLUMNS, measure)
