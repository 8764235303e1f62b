"""A nbdtun that is played for the modules: each command is answered from a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

#: An exit status, standard output, and standard error.
Answer = tuple[int, str, str]

GONE: Mapping[str, Any] = {"vm": "web1", "place": "/run/qemu/web1.qmp", "state": None, "memory": 0, "disks": 0}
QUIET: Mapping[str, Any] = {"error": None, "code": None, "remedy": None}


def row(state: str | None = "running", at: Mapping[str, Any] | None = None, **changes: Any) -> Answer:
    """What `nbdtun vms --json` says of web1; `at` maps destinations to states."""
    there = {to: told if isinstance(told, dict) else {"state": told, **QUIET} for to, told in (at or {}).items()}
    return 0, json.dumps({**GONE, **QUIET, "state": state, "migration": None, "at": there, **changes}), ""


def last(status: int, code: str | None = None, error: str | None = None, **more: Any) -> Answer:
    """What `nbdtun migrate --progress=final` says at its end."""
    line = f"nbdtun: {error} [{code}]\n" if error else ""
    return status, json.dumps({"phase": "completed" if not status else "failed", "error": error, "code": code, **more}), line


class Ended(Exception):
    """A module has ended, with this result."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(f"{result}")
        self.result = result


class Play:
    """Runs a module's `main`. `answers` are those of nbdtun, in their order; `said` are the words that it was called with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.answers: list[Answer | Callable[[list[str]], Answer]] = []
        self.said: list[list[str]] = []
        self.options: list[dict[str, Any]] = []
        self.version = "nbdtun 0.1.0"
        self.installed = True
        self.warnings: list[str] = []

    def run(self, name: str, *, check: bool = False, diff: bool = False, **parameters: Any) -> dict[str, Any]:
        """Run it with these parameters; its result."""
        import importlib

        from ansible.module_utils import basic
        from ansible.module_utils.testing import patch_module_args

        module = importlib.import_module(f"ansible_collections.nbdtun.migration.plugins.modules.{name}")
        self._monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda _, words, **options: self._answer(words, options))
        self._monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda _, program, *more, **options: self._path(program))
        self._monkeypatch.setattr(basic.AnsibleModule, "warn", lambda _, text, **options: self.warnings.append(text))
        self._monkeypatch.setattr(basic.AnsibleModule, "exit_json", _ended(failed=False))
        self._monkeypatch.setattr(basic.AnsibleModule, "fail_json", _ended(failed=True))
        self._monkeypatch.setattr("time.sleep", lambda seconds: None)
        with patch_module_args({**parameters, "_ansible_check_mode": check, "_ansible_diff": diff}), pytest.raises(Ended) as ended:
            module.main()
        assert self.answers == []
        result: dict[str, Any] = ended.value.result
        return result

    def _path(self, program: str) -> str | None:
        return f"/usr/bin/{program}" if self.installed or program == "setsid" else None

    def _answer(self, words: list[str], options: dict[str, Any]) -> Answer:
        assert words[:3] == ["/usr/bin/setsid", "--wait", "/usr/bin/nbdtun"]
        assert options == {"expand_user_and_vars": False}  # neither ~ nor $ means anything
        if words[3:] == ["--version"]:
            return 0, self.version, ""
        self.said.append(words[3:])
        answer = self.answers.pop(0)
        return answer(words[3:]) if callable(answer) else answer


def _ended(*, failed: bool) -> Callable[..., None]:
    def end(_: object, msg: str | None = None, **result: Any) -> None:
        raise Ended({"failed": failed, **({} if msg is None else {"msg": msg}), **result})

    return end
