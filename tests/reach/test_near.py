"""The near end of the dialogue, and with it the far one, through an ssh that runs the remote command here."""

from __future__ import annotations

import pytest
import pytest_twisted

from nbdtun.errors import DiskMismatch, NotMigratable, ReachError
from nbdtun.reach.far import Asked
from nbdtun.reach.near import FarEnd, Listening, words
from nbdtun.reach.relay import is_gone
from tests.reach.stage import SECRET, FakeReceiver, FakeSSH


@pytest_twisted.ensureDeferred
async def test_a_question_and_its_answer(ssh: FakeSSH, receiver: FakeReceiver) -> None:
    far = FarEnd(receiver.host, "web1")
    await far.open()
    listening = await far.receive(b"mine", qmp="/run/web1.qmp", ports="1-2", resume_window=1.5)
    assert listening == Listening(certificate=b"der", name="far", port=7, addresses=("192.0.2.7",), secret=SECRET, waits=True)
    assert receiver.asked == [Asked(b"mine", "/run/web1.qmp", (), "1-2", 1.5)]
    assert [("BatchMode" in call, call.split(" # ")[-1]) for call in ssh.calls()] == [(False, " ".join(words("web1", join=False)))]
    await far.close()


@pytest_twisted.ensureDeferred
async def test_it_is_a_maker(receiver: FakeReceiver) -> None:
    far = FarEnd(receiver.host, "web1")
    await far.open()
    assert await far.look({"a": [1, None]}) == {"found": {"a": [1, None]}}
    assert await far.make({"plan": "ü"}) == "/run/made.qmp"
    await far.keep()
    await far.remove()
    await far.acknowledge(b"mine", settled=True)
    assert receiver.asked == [("look", {"a": [1, None]}), ("make", {"plan": "ü"}), "keep", "remove", (b"mine", True)]
    await far.close()


@pytest.mark.parametrize("error", [DiskMismatch("vda is too small"), NotMigratable("busy"), ReachError("no")])
@pytest_twisted.ensureDeferred
async def test_an_error_crosses_with_its_code(receiver: FakeReceiver, error: Exception) -> None:
    receiver.error = error
    far = FarEnd(receiver.host, "web1")
    await far.open()
    with pytest.raises(type(error), match=str(error)):
        await far.make({})
    await far.close()


@pytest_twisted.ensureDeferred
async def test_a_torn_connection_is_replaced_by_one_that_asks_nobody(ssh: FakeSSH, receiver: FakeReceiver) -> None:
    far = FarEnd(receiver.host, "web1")
    await far.open()
    receiver.talks[0].hang_up()
    assert far._talk is not None
    await far._talk.when_lost()
    await far.keep()
    assert receiver.asked == ["keep"]
    assert [("BatchMode" in call, call.split(" # ")[-1]) for call in ssh.calls()] == [
        (False, "receive web1 --over-ssh start"),
        (True, "receive web1 --over-ssh join"),
    ]
    await far.close()


@pytest_twisted.ensureDeferred
async def test_nothing_is_opened_where_ssh_fails(ssh: FakeSSH, receiver: FakeReceiver) -> None:
    ssh.does("echo 'Host key verification failed.' >&2; exit 255")
    far = FarEnd(receiver.host, "web1")
    with pytest.raises(ReachError, match="Host key verification failed; connect to it once by ssh"):
        await far.open()
    assert not far.opened
    await far.close()


@pytest_twisted.ensureDeferred
async def test_another_far_end_removes_what_one_has_made_that_was_killed(ssh: FakeSSH, receiver: FakeReceiver) -> None:
    far = FarEnd(receiver.host, "web1")
    await far.open()
    receiver.talks[0].hang_up()
    await far.when_lost()
    ssh.does('case "$last" in *join) echo "nbdtun: nothing receives web1 there any more [reach]" >&2; exit 1;; esac')
    with pytest.raises(ReachError) as gone:
        await far.keep()
    assert is_gone(gone.value.what)
    await far.remove()
    assert receiver.asked == ["remove"]
    assert [call.rpartition(" ")[2] for call in ssh.calls()] == ["start", "join", "join", "start"]
    await far.close()
    await far.when_lost()
