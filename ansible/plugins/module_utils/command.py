# Copyright (c) 2026 The nbdtun authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""
The nbdtun command on the managed host: found, asked for its version, and run with lists of words, never by a shell.

It runs in a session of its own. So a connection that breaks, and a task whose time is over, end the module, and no migration. It has no
terminal, so no ssh that it starts can wait for a password there.
"""

from __future__ import annotations

import json
import re

#: The least release that has all that the modules ask for.
LEAST = (0, 1)

#: The exit statuses that it has.
STATUSES = (0, 1, 2, 3, 4, 130)

#: Where it is looked for, besides PATH.
PLACES = ["/usr/local/bin", "/opt/nbdtun/bin"]

_LINE = re.compile(r"^nbdtun: (?P<text>.*?)(?: \[(?P<code>[a-z]+(?:-[a-z]+)*)\])?$")


class Failure(Exception):
    """What ends a task: the text of a result that has failed, and its other values."""

    def __init__(self, msg, code, remedy="", **others):
        super().__init__(msg)
        self.result = dict(others, msg=msg, code=code, remedy=remedy)


class Done:
    """A command that has ended, with its exit status, negative for a signal, and its output."""

    def __init__(self, rc, out, err):
        self.rc, self.out, self.err = rc, out, err

    @property
    def killed(self):
        """Whether it has ended otherwise than by itself; setsid may have a status of its own for that."""
        return self.rc not in STATUSES

    def objects(self):
        """The JSON objects in its output, a line each; lines that are none are passed over."""
        found = []
        for line in self.out.splitlines():
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if isinstance(told, dict):
                found.append(told)
        return found

    def complaint(self):
        """Its last line on standard error as a text and a code; the code is empty if there is none."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        said = next((found for found in map(_LINE.match, reversed(lines)) if found), None)
        if said is not None:
            return said.group("text"), said.group("code") or ""
        return (lines[-1] if lines else f"nbdtun has ended with status {self.rc} and without a word"), ""

    def failure(self, **others):
        """The failure that it reports."""
        text, code = self.complaint()
        return Failure(text, code or ("killed" if self.killed else "failed"), rc=self.rc, **others)


class Nbdtun:
    """The command, for an AnsibleModule."""

    def __init__(self, module, executable):
        self._module = module
        self._session = [module.get_bin_path("setsid", required=True), "--wait"]
        self._path = module.get_bin_path(executable, opt_dirs=PLACES)
        if self._path is None:
            remedy = "install it: the role nbdtun.migration.nbdtun does; or say where it is: executable"
            raise Failure(f"there is no {executable} on this host; {remedy}", "not-installed", remedy)
        self.version = self._ask_version()

    def _ask_version(self):
        done = self.run("--version")
        found = re.match(r"nbdtun (\S+)", done.out)
        if done.rc or found is None:
            raise Failure(f"{self._path} does not run: {done.complaint()[0]}", "not-installed", "install it again", rc=done.rc)
        release = tuple(int(part) for part in re.findall(r"\d+", found.group(1))[:2])
        if release < LEAST:
            least = ".".join(str(part) for part in LEAST)
            text = "{0} is nbdtun {1}, and the collection needs {2} or later; upgrade it on this host"
            raise Failure(text.format(self._path, found.group(1), least), "version", "upgrade it on this host")
        return found.group(1)

    def run(self, *words):
        """Run it to its end. Neither ~ nor $ in a word means anything."""
        rc, out, err = self._module.run_command([*self._session, self._path, *list(words)], expand_user_and_vars=False)
        return Done(rc if rc < 128 or rc == 130 else 128 - rc, out, err)

    def objects(self, *words):
        """Run it, and return the JSON objects that it prints. Its exit status does not count, if there are any."""
        done = self.run(*words)
        found = done.objects()
        if not found and done.rc:
            raise done.failure()
        return found


def carry_out(module, make, **known):
    """End the module with the result of the task that make makes of it and the command; a failure has what is known, too."""
    try:
        task = make(module, Nbdtun(module, module.params["executable"]))
        try:
            result = task.run()
        finally:
            known.update(task.known)
    except Failure as failure:
        module.fail_json(**dict(known, **failure.result))
    end = module.fail_json if result.get("failed") else module.exit_json
    end(**dict(known, **result))
