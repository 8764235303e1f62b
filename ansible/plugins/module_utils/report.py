# Copyright (c) 2026 The nbdtun authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""
The report of an evacuation on the disk, of all runs since VMs were last brought home.

It is written before a run and after it. So a later run knows whether one has ended without a word, whose VMs are in nbdtun's journal alone.
"""

from __future__ import annotations

import json
import os

from ansible_collections.nbdtun.migration.plugins.module_utils import drain
from ansible_collections.nbdtun.migration.plugins.module_utils.command import Failure


class Report:
    """The report at C(path), None for none; C(write) makes a file of an object, and C(move) puts it into its place."""

    def __init__(self, path, write, move):
        self._path = os.path.abspath(path) if path else None
        self._write = write
        self._move = move
        self.vms = []
        #: A run was begun, and has not been added.
        self.begun = False

    def read(self):
        """Read what is there."""
        if not self._path or not os.path.exists(self._path):
            return
        try:
            with open(self._path) as file:
                told = json.load(file)
            self.vms, self.begun = [dict(vm, vm=vm["vm"], state=vm["state"]) for vm in told["vms"]], bool(told.get("begun"))
        except (OSError, ValueError, KeyError, TypeError) as odd:
            remedy = "move it away if it is none"
            raise Failure(f"the report {self._path} cannot be read: {odd}; {remedy}", "config", remedy) from None

    def keep(self, vms, begun):
        """Write it, with the VMs of this run; returns it."""
        report = dict(vms=drain.joined(self.vms, vms))
        if self._path:
            try:
                self._move(self._write(dict(report, begun=begun)), self._path)
                os.chmod(self._path, 0o600)
            except OSError as odd:
                raise Failure(f"the report {self._path} cannot be written: {odd}", "config") from None
        return report
