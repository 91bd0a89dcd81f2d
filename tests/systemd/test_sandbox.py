"""What the sandbox takes from a controller, and what it leaves, seen from inside one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from support.connection import Connection

from .instance import SystemdTest
from .machine import HOME, UNITS

#: A setuid program that says who it is.
SETUID = "/run/setuid-id"


class Sandbox(SystemdTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        program = cls.machine.path(SETUID)
        id = shutil.which("id")
        assert id is not None
        shutil.copyfile(id, program)
        os.chmod(program, 0o4755)
        cls.machine.write(HOME / ".ssh" / "id", "secret")
        cls.machine.write(HOME / ".local" / "state" / "baskd" / ".keep", "")
        # By itself it is root's: else what follows would say nothing.
        assert cls.machine.run(SETUID, "-u").stdout == "0\n"

    def probe(self, **options: Any) -> dict[str, Any]:
        self.machine.write(Path("/tmp/a-clients-file"), "")
        instance = self.start(**options)
        files = {"home": HOME / "x", "cache": HOME / ".cache" / "hub" / "x", "tmp": "/tmp/x", "shm": "/dev/shm/x"}
        probe: dict[str, Any] = instance.call("probe", [[str(file) for file in files.values()]])
        probe["write"] = {name: probe["write"][str(file)] for name, file in files.items()}
        # Whatever else it did, it is a daemon that serves, keeps state and reloads.
        instance.call("remember", ["it"])
        instance.call("setProperty", {"name": "colour", "value": "red"})
        instance.systemctl("reload")
        instance.systemctl("restart")
        self.assertEqual(instance.call("remembered"), ["it"])
        self.assertEqual(instance.call("getProperty", {"name": "colour"}), "red")
        self.instance = instance
        return probe

    def test_what_it_takes(self) -> None:
        probe = self.probe()
        taken = ("unshare", "mount", "ptrace", "perf_event_open", "bpf")
        self.assertEqual({name: probe[name] for name in taken}, dict.fromkeys(taken, "EPERM"))
        self.assertEqual((probe["no_new_privs"], probe["seccomp"]), ("1", "2"))
        self.assertEqual(probe["setuid_program"], str(self.machine.uid))
        self.assertEqual(probe["umask"], "0077")
        limits = self.instance.call("limits")
        self.assertEqual((limits["NOFILE"][0], limits["CORE"]), (4096, [0, 0]))

    def test_what_it_leaves(self) -> None:
        probe = self.probe()
        left = (
            "executable_memory",
            "write_then_execute",
            "jit",
            "threads",
            "read_own_key",
            "personality",
            "set_group_bit",
            "add_key",
        )
        self.assertEqual({name: probe[name] for name in left}, dict.fromkeys(left, "ok"))
        self.assertEqual(set(probe["write"].values()), {"ok"}, probe["write"])
        self.assertEqual({probe["sockets"][name] for name in ("AF_UNIX", "AF_INET", "AF_NETLINK")}, {"ok"})
        self.assertEqual(probe["processes"], "[1, 2]")
        # Devices are those of the machine, GPUs among them where there are some; and files of clients can be seen.
        self.assertEqual(probe["devices"], sorted(os.listdir(self.machine.path("/dev"))))
        self.assertIn("a-clients-file", probe["shared"])
        self.assertEqual(probe["uid_map"], ["0", "0", "4294967295"])
        # So root is root to the daemon, which lets it in: what is outside of the machine can tell.
        with Connection(self.machine.path(self.instance.path)) as roots:
            self.assertEqual(roots.call("add", [1, 2]), 3)

    def test_a_venv_in_home_serves(self) -> None:
        venv = HOME / "project" / ".venv"
        self.machine.run(self.machine.python, "-m", "venv", "--without-pip", venv)
        instance = self.start()
        served = self.machine.path(instance.config).read_text()
        self.machine.write(instance.config, served.replace(self.machine.python, str(venv)))
        self.assertEqual(instance.call("environment").get("VIRTUAL_ENV", str(venv)), str(venv))
        self.assertIn(str(venv), instance.log())

    def test_the_stricter_drop_in(self) -> None:
        strict = (UNITS / "strict.conf").read_text()
        probe = self.probe(drop_ins={"50-strict.conf": strict})
        refused = {
            "unshare": "EPERM",
            "mount": "EPERM",
            "ptrace": "EPERM",
            "executable_memory": "EPERM",
            "write_then_execute": "EPERM",
            "personality": "EPERM",
            "set_group_bit": "EPERM",
            "write_cgroup": "EROFS",
            "add_key": "EPERM",
        }
        self.assertEqual({name: probe[name] for name in refused}, refused)
        self.assertIn(probe["read_own_key"], ("EACCES", "ENOENT"))
        self.assertEqual(probe["write"], {"home": "EROFS", "cache": "EROFS", "tmp": "ok", "shm": "ok"})
        self.assertEqual(
            probe["sockets"],
            {"AF_UNIX": "ok", "AF_INET": "EAFNOSUPPORT", "AF_NETLINK": "EAFNOSUPPORT", "AF_VSOCK": "EAFNOSUPPORT"},
        )
        self.assertNotIn("a-clients-file", probe["shared"])
        self.assertIn("null", probe["devices"])
        self.assertNotIn("loop0", probe["devices"])
        self.assertLess(len(probe["devices"]), 25)
        self.assertEqual(probe["uid_map"], [str(self.machine.uid), str(self.machine.uid), "1"])
        self.assertEqual(probe["setuid_program"], str(self.machine.uid))
        # What the drop-in says that it breaks: root looks like anybody.
        with Connection(self.machine.path(self.instance.path)) as roots:
            self.assertEqual(roots.read()["error"]["code"], -32027)

    def test_file_system_lines_alone_do_nothing(self) -> None:
        # Which is why strict.conf has PrivateUsers; newer systemds imply it.
        probe = self.probe(service="ProtectSystem=strict\nPrivateTmp=yes")
        if probe["uid_map"] == ["0", "0", "4294967295"]:
            self.assertEqual(set(probe["write"].values()), {"ok"})
            self.assertIn("a-clients-file", probe["shared"])
        else:
            self.assertEqual(probe["write"]["home"], "EROFS")
