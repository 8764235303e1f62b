"""Two directions of records, as a client and a server have them."""

from __future__ import annotations

from nbdtun.tls.records.protection import BATCH_SIZE, MAX_BODY, TAG, Opener, Sealer
from nbdtun.tls.records.suites import SUITES, suite

SUITE = "TLS_AES_256_GCM_SHA384"
SECRETS = {name: bytes(range(48))[: 48 if "384" in name else 32] for name in SUITES}


class Direction:
    """One end seals, the other opens."""

    def __init__(self, name: str = SUITE) -> None:
        agreed = suite(name)
        self.sealer, self.opener = Sealer(agreed, SECRETS[name]), Opener(agreed, SECRETS[name])

    def sealed(self, kind: int, payload: bytes) -> bytes:
        out = memoryview(bytearray(BATCH_SIZE))
        return bytes(out[: self.sealer.seal(kind, payload, out)])

    def batch(self, data: bytes) -> bytes:
        out = memoryview(bytearray(BATCH_SIZE))
        return bytes(out[: self.sealer.seal_data(memoryview(data), out)])

    def opened(self, record: bytes) -> tuple[int, bytes]:
        out = memoryview(bytearray(MAX_BODY - TAG))
        kind, size = self.opener.open(memoryview(record), out)
        return kind, bytes(out[:size])


def split(line: bytes) -> list[bytes]:
    """The records on the line."""
    records = []
    while line:
        size = 5 + int.from_bytes(line[3:5])
        records.append(line[:size])
        line = line[size:]
    return records
