"""The bucket, alone and shared by real processes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest
from twisted.internet.task import Clock

from nbdtun.tunnel.runtime.bucket import Bucket, SharedBucket
from nbdtun.tunnel.runtime.throttle import Throttle
from tests.tunnel.runtime.readers import Reader, pass_time

SPENDS = """
import sys
from nbdtun.tunnel.runtime.bucket import SharedBucket
bucket = SharedBucket(int(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    bucket.spend(1.0, 0.0)
"""


def test_what_is_spent_adds_up() -> None:
    bucket = Bucket()
    assert bucket.spend(2.0, 10.0) == 12.0
    assert bucket.spend(0.0, 10.0) == 12.0
    assert bucket.spend(0.0, 20.0) == 20.0
    bucket.empty(5.0)
    assert bucket.spend(1.0, 0.0) == 6.0


def test_nothing_is_lost_between_processes() -> None:
    """Three of them at once; each change counts, once."""
    bucket, count = SharedBucket.make(0.0), 3000
    words = [sys.executable, "-c", SPENDS, f"{bucket.descriptor}", f"{count}"]
    processes = [subprocess.Popen(words, pass_fds=[bucket.descriptor]) for _ in range(2)]
    for _ in range(count):
        bucket.spend(1.0, 0.0)
    assert [process.wait(30) for process in processes] == [0, 0]
    assert bucket.spend(0.0, 0.0) == 3.0 * count
    bucket.close()


def test_one_that_was_killed_blocks_nobody() -> None:
    bucket = SharedBucket.make(0.0)
    holds = "import fcntl, sys, time; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", holds, f"{bucket.descriptor}"], pass_fds=[bucket.descriptor], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait(10)
    began = time.monotonic()
    bucket.spend(1.0, 0.0)
    assert time.monotonic() - began < 5
    process.stdout.close()
    bucket.close()


@pytest.mark.parametrize("late", [0.002, 0.012])
def test_throttles_with_one_bucket_get_one_rate(late: float) -> None:
    """Whichever of them has how many readers; within 5 %."""
    random.seed(7)
    clock, rate = Clock(), 10_000_000
    one, other = Throttle(clock, rate), Throttle(clock, rate)
    other.join(os.dup(one.share()))
    readers = [Reader(one), Reader(one), Reader(other)]
    for reader in readers:
        reader.allowed()
    pass_time(clock, 10, late)
    assert sum(reader.got for reader in readers) == pytest.approx(rate * 10, rel=0.05)
    assert 0.2 < readers[2].got / (rate * 10) < 0.8
    assert one.share() == one.share()
