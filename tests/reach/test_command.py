from __future__ import annotations

import shlex

import pytest

from nbdtun.config.ssh import SSHAddress
from nbdtun.errors import NotInstalled
from nbdtun.reach.command import failure, resolve_command, resolved, ssh_command

ADDRESS = SSHAddress("dest", "me", 2222)


def test_the_users_own_ssh_runs_it() -> None:
    argv = ssh_command(ADDRESS, "sudo nbdtun", ["receive", "web1"], attended=True)
    assert argv[0] == "ssh"
    assert argv[-7:] == ["-p", "2222", "-l", "me", "--", "dest", "sudo nbdtun receive web1"]
    assert not [word for word in argv if "BatchMode" in word or "Control" in word]
    assert ssh_command(SSHAddress("dest"), "nbdtun", [], attended=True)[-3:-1] == ["--", "dest"]


def test_a_later_connection_asks_nobody_and_is_its_own() -> None:
    argv = ssh_command(ADDRESS, "nbdtun", [], attended=False)
    assert {"-oBatchMode=yes", "-oControlMaster=no", "-oControlPath=none", "-oServerAliveInterval=5"} < set(argv)


def test_words_stay_words() -> None:
    argv = ssh_command(ADDRESS, "nbdtun", ["a b", "$(id)", "'"], attended=True)
    assert shlex.split(argv[-1]) == ["nbdtun", "a b", "$(id)", "'"]


def test_ssh_knows_the_name_of_an_alias() -> None:
    assert resolve_command(ADDRESS) == ["ssh", "-G", "-p", "2222", "-l", "me", "--", "dest"]
    assert resolved("host dest\nuser me\nhostname dest.example.org\nport 22\n") == "dest.example.org"
    assert resolved("") == resolved("hostname\n") == ""


@pytest.mark.parametrize(
    ("status", "said", "line"),
    [
        (255, ["ssh: connect to host dest port 22: Connection refused"], "connect to host dest port 22: Connection refused; does sshd run"),
        (
            255,
            ["me@dest: Permission denied (publickey)."],
            "me@dest: Permission denied (publickey); is it the right user? `ssh me@dest true`",
        ),
        (
            255,
            ["No ED25519 host key is known for dest.", "Host key verification failed."],
            "Host key verification failed; connect to it once",
        ),
        (
            255,
            ["@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "Host key verification failed."],
            "failed; its key is not the one in",
        ),
        (255, [], "ssh ended without a word; `ssh me@dest true` must work"),
        (255, ["kex_exchange_identification: Connection closed by remote host"], "by remote host; is it sshd that listens there?"),
        (255, ["Connection timed out during banner exchange"], "banner exchange; is it sshd that listens there?"),
        (1, ["motd", "nbdtun: nothing receives web1 there any more [reach]", "logout"], "nothing receives web1 there any more"),
        (1, ["nbdtun: a name [with this]"], "a name [with this]"),
        (3, ["strange"], "nbdtun ended with status 3 there: strange"),
        (-9, [], "ssh was ended by signal 9"),
    ],
)
def test_a_failure_is_one_line(status: int, said: list[str], line: str) -> None:
    error = failure(ADDRESS, "nbdtun", status, said)
    assert str(error).startswith("ssh://me@dest:2222: ")
    assert line in str(error)
    assert not isinstance(error, NotInstalled)


@pytest.mark.parametrize(
    ("status", "said"),
    [(127, ["bash: line 1: nbdtun: command not found"]), (126, ["sh: nbdtun: Permission denied"]), (1, ["nbdtun: Command not found."])],
)
def test_there_is_no_nbdtun(status: int, said: list[str]) -> None:
    error = failure(ADDRESS, "nbdtun", status, said)
    assert isinstance(error, NotInstalled)
    assert (
        str(error)
        == f"ssh://me@dest:2222: nbdtun cannot be run there ({said[0]}); install nbdtun there, or say where it is: --remote-command"
    )
