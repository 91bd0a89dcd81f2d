"""The machine itself: it is real, and nothing of it stays."""

from __future__ import annotations

import os
import unittest
from pathlib import Path

from support.processes import is_alive, wait_gone

from .init import USER
from .machine import HOME, Machine, skip_where_impossible


class TheMachine(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        skip_where_impossible()

    def test_it_runs_systemd_and_leaves_nothing(self) -> None:
        machine = Machine()
        try:
            self.assertEqual(machine.systemctl("is-system-running", "--wait").stdout.strip(), "running")
            self.assertEqual(machine.run("id", "-un").stdout.strip(), USER)
            machine.write(machine.units / "stays.service", "[Service]\nExecStart=sleep 600\n")
            machine.systemctl("daemon-reload")
            machine.systemctl("start", "stays.service")
            group = machine.show("stays.service", "ControlGroup")["ControlGroup"]
            processes = [*machine.processes_of(group), machine.init]
            self.assertEqual(len(processes), 2)
            self.assertTrue(all(map(is_alive, processes)))
        finally:
            machine.close()
        for pid in processes:
            wait_gone(pid)
        self.assertFalse(machine.cgroup.exists())
        self.assertFalse(HOME.exists())
        self.assertNotIn(USER, Path("/etc/passwd").read_text())
        self.assertEqual(uids_of_processes() & {machine.uid}, set())

    def test_one_whose_maker_is_killed_leaves_no_process(self) -> None:
        machine = Machine()
        try:
            machine._control.close()  # As the kernel does for whoever is killed.
            self.assertEqual(os.waitstatus_to_exitcode(machine._process.wait(10) << 8), 0)
            wait_gone(machine.init)
        finally:
            machine.close()


def uids_of_processes() -> set[int]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.add(process.stat().st_uid)
        except OSError:
            continue  # It has ended meanwhile.
    return found
