"""The talk of a migration over a control channel: each end asks and answers."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping

from tests.peer import messages
from tests.peer.channel import Channel, Over
from tests.peer.messages import Box, Refused, Value, Violation
from tests.peer.wire import Lost

ANSWER = 210.0
"""The longest wait for an answer: that of `Finish`."""

Answer = Callable[[str, Box], Mapping[str, Value] | None]
"""Answers a question of the other end, or raises `Refused`."""


def nothing(command: str, _: Box) -> Mapping[str, Value] | None:
    """An end that answers signs of life only; None is no answer, to what wants none."""
    if command == "Ping":
        return {}
    if command == "Trouble":
        return None
    raise Refused("UNHANDLED", f"no command {command}")


class Conversation:
    """Questions and answers; each question that comes is answered in a thread of its own."""

    def __init__(self, channel: Channel, answer: Answer = nothing) -> None:
        self.channel = channel
        self._answer = answer
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._answers: dict[bytes, Box] = {}
        self._ended: str | None = None
        self._writing = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, command: str, /, **fields: Value) -> Box:
        """Ask; the answer, or `Refused`."""
        ask = b"%x" % next(self._numbers)
        self._write(messages.pack(_command=command, _ask=ask, **fields))
        with self._changed:
            if not self._changed.wait_for(lambda: ask in self._answers or self._ended is not None, ANSWER):
                raise TimeoutError(f"no answer to {command}")
            if ask not in self._answers:
                raise Lost(f"{command} is not answered: {self._ended}")
            answer = self._answers.pop(ask)
        if "_error" in answer:
            raise messages.refusal(answer)
        return answer

    def tell(self, command: str, /, **fields: Value) -> None:
        """Say what wants no answer."""
        self._write(messages.pack(_command=command, **fields))

    def end(self) -> None:
        """Nothing more is asked; wait until the channel has ended."""
        self.channel.end()
        self.channel.wait_over()

    def wait_ended(self, timeout: float = 30) -> str:
        """Wait until the other end asks and answers no more; why."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended is not None, ANSWER):
                raise TimeoutError("the conversation goes on")
            return self._ended or ""

    def _write(self, box: bytes) -> None:
        with self._writing:
            self.channel.write(box)

    def _read(self) -> None:
        why = "the other end has ended it"
        try:
            while True:
                box = messages.read(self.channel.exactly)
                if "_command" in box:
                    threading.Thread(target=self._serve, args=(box,), daemon=True).start()
                else:
                    with self._changed:
                        self._answers[box.get("_answer", box.get("_error", b""))] = box
                        self._changed.notify_all()
        except Lost:
            self.channel.wrote(1)
        except (Over, Violation) as error:
            why = str(error)
        with self._changed:
            self._ended = why
            self._changed.notify_all()

    def _serve(self, box: Box) -> None:
        ask = box.get("_ask")
        try:
            fields = self._answer(box["_command"].decode(), box)
            answer = messages.pack(_answer=ask or b"", **(fields or {}))
        except Refused as error:
            answer = messages.error(ask or b"", error.code, error.description)
        except Exception as error:
            answer = messages.error(ask or b"", "UNKNOWN", f"{type(error).__name__}: {error}")
        if ask is not None:
            try:
                self._write(answer)
            except Over:
                return
