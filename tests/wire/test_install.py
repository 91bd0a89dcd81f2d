"""`baskd install` and `uninstall`, with a systemctl that writes down what it is told; tests/systemd has a real one."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support.case import DaemonTest
from support.daemon import CONTROLLERS, Daemon, binary
from support.systemctl import Systemctl

KEEPS = CONTROLLERS / "keeps.py"


def program(path: Path) -> None:
    """Stands for an interpreter that nobody runs."""
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


class Installing(DaemonTest):
    own_daemon = True

    def setUp(self) -> None:
        self.at = self.places()
        (self.at.root / "config").mkdir()
        self.app = self.at.root / "my app"
        (self.app / ".venv" / "bin").mkdir(parents=True)
        self.python = self.app / ".venv" / "bin" / "python"
        program(self.python)
        self.served = self.app / "controller.py"
        self.served.write_text(KEEPS.read_text())
        self.systemctl = Systemctl(self.at.root)
        self.units = self.at.root / "config" / "systemd" / "user"
        self.toml = self.at.config("chat")
        self.drop_in = self.units / "baskd@chat.service.d" / "10-baskd.conf"

    def run_in(self, folder: Path, *arguments: Any, **more: str) -> subprocess.CompletedProcess[str]:
        env = self.at.environment(PATH=self.systemctl.path(), **more)
        return self.at.run(*arguments, env=env, cwd=folder)

    def baskd(self, *arguments: Any, **more: str) -> str:
        done = self.run_in(self.app, *arguments, **more)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    def install(self, *arguments: Any, **more: str) -> str:
        return self.baskd("install", *arguments, "--name", "chat", **more)

    def uninstall(self, *arguments: Any, **more: str) -> str:
        return self.baskd("uninstall", *arguments, "--name", "chat", **more)

    def refused(self, status: int, *arguments: Any, **more: str) -> str:
        before = self.tree()
        done = self.run_in(self.app, *arguments, "--name", "chat", **more)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        # One line; and below it, of a config's slip, the line of the file.
        lines = [line for line in done.stderr.splitlines() if not line.startswith("  ")]
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertEqual(self.tree(), before)
        self.assertEqual(self.systemctl.calls(), [])
        return done.stderr

    def tree(self) -> dict[str, str]:
        """All that is in the user's folders, but for what the fake itself keeps."""
        root = self.at.root
        found = {}
        for folder in ("config", "state", "run"):
            for path in sorted((root / folder).rglob("*")):
                if path.is_symlink():
                    found[str(path.relative_to(root))] = f"-> {os.readlink(path)}"
                elif path.is_file():
                    found[str(path.relative_to(root))] = path.read_text()
                else:
                    found[str(path.relative_to(root))] = "a folder or a socket"
        return found


class Install(Installing):
    def test_all_is_written_enabled_and_told(self) -> None:
        said = self.install("controller.py", "--idle-exit", "10m")
        self.assertEqual(self.systemctl.calls(), ["daemon-reload", "enable --now baskd@chat.socket"])
        for path in (self.toml, self.units / "baskd@.socket", self.units / "baskd@.service", self.drop_in):
            self.assertRegex(said, rf"(?m)^written +{path}$")
        self.assertRegex(said, rf"(?m)^socket +{self.at.socket('chat')}$")
        self.assertRegex(said, r"(?m)^call it +baskd call METHOD --name chat ")
        self.assertRegex(said, r"(?m)^warning +.*/target/\w+/baskd is in a folder for what is built")

        lines = [line for line in self.toml.read_text().splitlines() if not line.startswith("#")]
        self.assertEqual(
            lines,
            [
                f'controller = "{self.served}:Controller"',
                f'python = "{self.python}"  # found: .venv beside the controller',
                'idle_exit = "10m"',
            ],
        )
        self.assertIn("written by `baskd install`", self.toml.read_text())
        self.assertTrue(self.drop_in.read_text().endswith(f"[Service]\nWorkingDirectory={self.app}\n"))
        service = (self.units / "baskd@.service").read_text()
        self.assertIn(f"\nExecStart={binary()} serve --name %i\n", service)
        self.assertEqual(self.toml.stat().st_mode & 0o777, 0o644)
        # What was written is what a daemon of that name reads.
        daemon = self.start(places=self.at, name="chat")
        self.assertEqual(daemon.status()["controller"]["spec"], f"{self.served}:Controller")

    def test_a_second_run_changes_nothing_and_says_so(self) -> None:
        self.install("controller.py", "--workers", "1")
        self.systemctl.calls()
        before = self.tree()
        stamps = {path: path.stat().st_mtime_ns for path in self.units.rglob("*")}
        for arguments in (("controller.py", "--workers", "1"), ()):
            said = self.install(*arguments)
            self.assertEqual(len([line for line in said.splitlines() if line.startswith("unchanged ")]), 5, said)
            self.assertNotRegex(said, r"(?m)^(written|updated|ran|kept|removed) ")
            self.assertEqual(self.systemctl.calls(), [])
            self.assertEqual(self.tree(), before)
        self.assertEqual({path: path.stat().st_mtime_ns for path in self.units.rglob("*")}, stamps)
        # Nor does one from elsewhere, where it is not told what to serve.
        done = self.run_in(self.at.root, "install", "--name", "chat")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.tree(), before)

    def test_other_flags_update_what_is_there(self) -> None:
        self.install("controller.py")
        self.systemctl.calls()
        said = self.install("--workers", "2", "--watch", "--log", "debug")
        self.assertRegex(said, rf"(?m)^updated +{self.toml}$")
        self.assertEqual(self.systemctl.calls(), [])
        text = self.toml.read_text()
        self.assertTrue(text.endswith('\nworkers = 2\nwatch = true\nlog = "debug"\n'), text)
        self.install("--watch=false")
        self.assertIn("\nwatch = false\n", self.toml.read_text())
        # Another controller has its own Python, unless somebody has named one.
        other = self.at.root / "other"
        (other / ".venv" / "bin").mkdir(parents=True)
        program(other / ".venv" / "bin" / "python")
        (other / "c.py").write_text("")
        self.install(other / "c.py")
        self.assertIn(f'\npython = "{other}/.venv/bin/python"  # found: ', self.toml.read_text())
        self.install("controller.py", "--python", other / ".venv")
        self.install(other / "c.py")
        self.assertIn(f'\npython = "{other}/.venv/bin/python"\n', self.toml.read_text())

    def test_a_config_that_somebody_wrote_keeps_all_but_what_is_asked_for(self) -> None:
        self.toml.parent.mkdir()
        theirs = (
            "# mine\ncontroller = '../../my app/controller.py' # this one\nworkers = 1 # for now\n\n"
            "[methods.search]\ntimeout = '30s'\n"
        )
        self.toml.write_text(theirs)
        self.toml.chmod(0o600)
        self.install("--workers", "2")
        text = self.toml.read_text()
        self.assertEqual(
            text,
            theirs.replace("workers = 1", "workers = 2").replace(
                "for now\n", f'for now\npython = "{self.python}"  # found: .venv beside the controller\n'
            ),
        )
        self.assertEqual(self.toml.stat().st_mode & 0o777, 0o600)
        said = self.uninstall()
        self.assertRegex(said, rf"(?m)^kept +{self.toml} as {self.toml}.saved: ")
        self.assertEqual(Path(f"{self.toml}.saved").read_text(), text)
        # Installed and edited, it is kept as well, and nothing that was kept is overwritten.
        self.install("controller.py")
        self.toml.write_text(self.toml.read_text().replace("controller.py", "./controller.py"))
        self.uninstall()
        self.assertEqual(Path(f"{self.toml}.saved").read_text(), text)
        self.assertTrue(Path(f"{self.toml}.saved.2").is_file())

    def test_a_unit_that_somebody_edited_is_put_aside(self) -> None:
        self.install("controller.py")
        service = self.units / "baskd@.service"
        service.write_text(service.read_text() + "Nice=5\n")
        said = self.install()
        self.assertRegex(said, rf"(?m)^kept +{service} as {service}.saved: somebody has edited it; .* drop-in")
        self.assertNotIn("Nice", service.read_text())
        self.assertIn("Nice=5", Path(f"{service}.saved").read_text())
        self.assertIn("daemon-reload", self.systemctl.calls())

    def test_what_is_wrong_is_told_before_anything_is_written(self) -> None:
        self.assertIn("there is no controller at", self.refused(2, "install", "nowhere.py"))
        self.assertIn(
            "--workers: must be a whole number", self.refused(2, "install", "controller.py", "--workers", "0")
        )
        self.assertIn(
            "--idle-exit: must be a duration", self.refused(2, "install", "controller.py", "--idle-exit", "x")
        )
        self.assertIn("/nowhere", self.refused(2, "install", "controller.py", "--python", "/nowhere/python"))
        done = self.run_in(self.app, "install", "controller.py", "--name", "../x")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("'../x' can't be the name of an instance", done.stderr)
        self.toml.parent.mkdir()
        self.toml.write_text("workers = 1\n\nmax_queu = 5\n")
        said = self.refused(2, "install", "controller.py")
        self.assertIn(f"{self.toml}, line 3: `max_queu` is no setting: did you mean `max_queue`?", said)
        self.toml.write_text("controller = 'gone.py'\n")
        self.assertIn("gone.py", self.refused(2, "install"))
        # What a Python was, and is no more.
        self.toml.write_text("python = '/gone/venv/bin/python'\n")
        self.assertIn("/gone/venv", self.refused(2, "install", "controller.py"))
        error = json.loads(self.refused(2, "install", "--json"))
        self.assertEqual(error["name"], "Usage")

    def test_a_daemon_that_runs_by_itself_is_in_the_way(self) -> None:
        daemon = self.start(places=self.at, name="chat")
        daemon.python_pid()  # Until it is ready, files are still written.
        said = self.refused(1, "install", "controller.py")
        self.assertIn(f"a daemon runs on {self.at.socket('chat')} (pid {daemon.pid}, ", said)
        self.assertIn("stop it with `baskd stop --name chat`, then run this again", said)
        daemon.close()
        elsewhere = self.at.runtime / "elsewhere.sock"
        daemon = self.start(None, "--socket", str(elsewhere), places=self.at, name="chat")
        daemon.wait_for_log("is ready after")
        self.assertIn("a daemon of the name chat runs on another socket", self.refused(1, "install", "controller.py"))
        self.assertIn("needs its state", self.refused(1, "uninstall", "--purge"))
        # The files alone do not hurt it.
        said = self.install("controller.py", "--no-enable")
        self.assertRegex(said, r"(?m)^warning +a daemon of the name chat runs on another socket")

    def test_systemds_own_daemon_is_told_or_restarted(self) -> None:
        self.install("controller.py")
        self.systemctl.set(active={"baskd@chat.socket": "active", "baskd@chat.service": "active"})
        self.systemctl.calls()
        said = self.install("--workers", "2")
        self.assertRegex(said, r"(?m)^warning +the daemon that runs does not know .* restart baskd@chat`")
        self.assertEqual(self.systemctl.calls(), [])
        self.install("--workers", "3", "--restart")
        self.assertEqual(self.systemctl.calls(), ["restart baskd@chat.service"])

    def test_no_manager(self) -> None:
        self.systemctl.set(unreachable="Failed to connect to bus: No medium found")
        said = self.refused_while_asked("install", "controller.py")
        self.assertRegex(
            said, r"can't be reached \(Failed to connect to bus: No medium found\): .*`--no-enable` writes"
        )
        before = self.tree()
        said = self.install("controller.py", "--dry-run")
        self.assertRegex(said, r"(?m)^would run +systemctl --user enable --now baskd@chat.socket$")
        self.assertRegex(
            said, r"(?m)^warning +without --dry-run this fails: .* can't be reached \(Failed to connect to"
        )
        self.assertEqual(self.tree(), before)
        said = self.install("controller.py", "--no-enable")
        self.assertIn("systemctl --user daemon-reload && systemctl --user enable --now baskd@chat.socket", said)
        self.assertIn("`--files-only`", self.refused_while_asked("uninstall"))
        before = self.tree()
        said = self.uninstall("--dry-run")
        self.assertRegex(said, rf"(?m)^would remove +{self.drop_in}$")
        self.assertRegex(said, r"(?m)^warning +without --dry-run this fails: .*`--files-only`")
        self.assertEqual(self.tree(), before)
        self.uninstall("--files-only")
        self.assertEqual(self.tree(), {})
        self.uninstall()
        # Where there is not even a systemctl.
        done = self.at.run("install", self.served, env=self.at.environment(PATH="/nowhere"), cwd=self.app)
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no systemctl here", done.stderr)

    def refused_while_asked(self, *arguments: Any) -> str:
        """As `refused`: the manager is asked, and does not answer."""
        before = self.tree()
        done = self.run_in(self.app, *arguments, "--name", "chat")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(self.tree(), before)
        self.systemctl.calls()
        return done.stderr

    def test_a_manager_with_another_config_folder(self) -> None:
        self.systemctl.set(environment={"XDG_CONFIG_HOME": "/elsewhere"})
        said = self.refused_while_asked("install", "controller.py")
        self.assertIn("run this with `XDG_CONFIG_HOME=/elsewhere`", said)
        self.systemctl.set(environment={"XDG_RUNTIME_DIR": "/elsewhere"})
        said = self.refused_while_asked("install", "controller.py")
        self.assertIn("run this with `XDG_RUNTIME_DIR=/elsewhere`", said)
        self.systemctl.set(environment={"XDG_STATE_HOME": "/elsewhere"})
        self.assertRegex(self.install("controller.py"), r"(?m)^warning +systemd's daemon has its state in /elsewhere, ")

    def test_what_systemctl_refuses_is_told_and_the_next_run_goes_on(self) -> None:
        self.systemctl.set(refuses={"enable": "Failed to enable unit: Unit baskd@chat.socket is masked."})
        done = self.run_in(self.app, "install", "controller.py", "--name", "chat")
        self.assertEqual(done.returncode, 1)
        self.assertIn("`systemctl --user enable --now baskd@chat.socket` failed: Failed to enable", done.stderr)
        self.assertRegex(done.stdout, r"(?m)^written ")
        self.systemctl.set(refuses={})
        self.systemctl.calls()
        self.install("controller.py")
        self.assertEqual(self.systemctl.calls(), ["enable --now baskd@chat.socket"])

    def test_a_dry_run_shows_all_and_touches_nothing(self) -> None:
        before = self.tree()
        dry = self.install("controller.py", "--dry-run")
        self.assertEqual(self.tree(), before)
        self.assertEqual(self.systemctl.calls(), [])
        self.assertIn(f'    + controller = "{self.served}:Controller"\n', dry)
        self.assertRegex(dry, r"(?m)^would run +systemctl --user enable --now baskd@chat.socket$")
        told = json.loads(self.install("controller.py", "--dry-run", "--json"))
        self.assertTrue(told["dry_run"])
        real = json.loads(self.install("controller.py", "--json"))
        plan = [(step.get("path"), step.get("command")) for step in told["steps"]]
        self.assertEqual(plan, [(step.get("path"), step.get("command")) for step in real["steps"]])
        for step in told["steps"]:
            if "text" in step:
                self.assertEqual(Path(step["path"]).read_text(), step["text"])
        self.assertEqual(real["socket"], str(self.at.socket("chat")))
        self.systemctl.calls()
        before = self.tree()
        dry = self.install("--workers", "2", "--dry-run")
        self.assertIn("    + workers = 2\n", dry)
        self.assertNotIn("baskd call METHOD --name other", dry)
        dry = self.uninstall("--purge", "--dry-run")
        self.assertRegex(dry, rf"(?m)^would remove +{self.toml}$")
        self.assertEqual(self.tree(), before)
        self.assertEqual(self.systemctl.calls(), [])

    def test_linger(self) -> None:
        self.systemctl.set(linger="no")
        said = self.install("controller.py")
        self.assertRegex(said, r"(?m)^warning +it ends when you log out.*`loginctl enable-linger`")
        self.systemctl.set(linger="yes")
        self.assertNotIn("linger", self.install("controller.py"))

    def test_the_embedded_example_and_the_default_name(self) -> None:
        said = self.baskd("install")
        self.assertRegex(said, r"(?m)^controller +the embedded example")
        self.assertIn("enable --now baskd@default.socket", self.systemctl.calls())
        self.assertNotIn("controller =", self.at.config().read_text())
        self.baskd("uninstall")
        self.install("controller.py", BASKD_NAME="other", BASKD_SOCKET="/elsewhere.sock")
        self.assertTrue(self.toml.is_file())

    def test_a_program_whose_path_has_blanks(self) -> None:
        folder = self.at.root / "100% it's"
        folder.mkdir()
        program = folder / "baskd"
        os.link(binary(), program)
        env = self.at.environment(PATH=self.systemctl.path())
        command: list[Any] = [program, "install", "controller.py", "--name", "chat"]
        options: dict[str, Any] = {"env": env, "cwd": self.app, "capture_output": True, "text": True, "timeout": 60}
        done = subprocess.run(command, check=False, **options)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("systemd runs no program whose path has '\\'' in it", done.stderr)
        command[0] = folder.rename(self.at.root / "100% it") / "baskd"
        done = subprocess.run(command, check=False, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        service = (self.units / "baskd@.service").read_text()
        self.assertIn(f'\nExecStart="{self.at.root}/100%% it/baskd" serve --name %i\n', service)


class Uninstall(Installing):
    def test_nothing_is_left(self) -> None:
        before = self.tree()
        self.install("controller.py")
        self.systemctl.calls()
        said = self.uninstall()
        self.assertEqual(self.tree(), before)
        self.assertEqual(
            self.systemctl.calls(),
            [
                "disable --now baskd@chat.socket",
                "stop baskd@chat.service",
                "daemon-reload",
                "reset-failed baskd@chat.socket baskd@chat.service",
            ],
        )
        self.assertEqual(self.systemctl.active(), {})
        self.assertRegex(said, rf"(?m)^removed +{self.toml}$")
        # And again: there is nothing, which is no error.
        said = self.uninstall()
        self.assertEqual(said, "unchanged  nothing is installed for the instance chat\n")
        self.assertEqual(self.systemctl.calls(), [])

    def test_folders_that_are_links_stay(self) -> None:
        """As those have them who keep their dotfiles elsewhere."""
        dotfiles = self.at.root / "dotfiles"
        for folder in (self.units, self.toml.parent):
            target = dotfiles / folder.name
            target.mkdir(parents=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            if folder.exists():
                folder.rmdir()
            folder.symlink_to(target)
        self.install("controller.py")
        self.systemctl.calls()
        self.uninstall()
        calls = self.systemctl.calls()
        self.assertEqual(calls[-2:], ["daemon-reload", "reset-failed baskd@chat.socket baskd@chat.service"])
        self.assertTrue(self.units.is_symlink() and self.toml.parent.is_symlink())
        self.assertEqual([path for path in dotfiles.rglob("*") if path.is_file()], [])
        self.assertIn("nothing is installed", self.uninstall())

    def test_others_keep_the_units(self) -> None:
        self.install("controller.py")
        self.baskd("install", "controller.py", "--name", "other")
        said = self.uninstall()
        self.assertRegex(said, r"(?m)^unchanged +the units, which others need: other$")
        self.assertTrue((self.units / "baskd@.service").is_file())
        self.assertTrue((self.units / "sockets.target.wants" / "baskd@other.socket").is_symlink())
        # One that was started without being installed needs them, too.
        self.systemctl.set(active={"baskd@third.service": "active"})
        self.assertIn("others need: third", self.baskd("uninstall", "--name", "other"))
        self.systemctl.set(active={})

    def test_what_a_person_has_put_there_stays(self) -> None:
        self.install("controller.py")
        override = self.drop_in.parent / "override.conf"
        override.write_text("[Service]\nNice=5\n")
        self.drop_in.write_text(self.drop_in.read_text().replace("my app", "other app"))
        said = self.uninstall()
        self.assertRegex(said, rf"(?m)^unchanged +{override}, which is yours$")
        self.assertTrue(override.is_file())
        self.assertTrue(Path(f"{self.drop_in}.saved").is_file())
        self.assertFalse(self.drop_in.exists())

    def test_state_is_kept_unless_it_is_purged(self) -> None:
        self.install("controller.py")
        with Daemon(places=self.at, name="chat") as daemon, daemon.connect() as connection:
            connection.call("setProperty", {"name": "step", "value": 5})
        properties = self.at.state / "baskd" / "chat" / "properties.json"
        said = self.uninstall()
        self.assertRegex(said, rf"(?m)^kept +its state, in {properties.parent}: --purge removes it$")
        self.assertTrue(properties.is_file())
        self.uninstall("--purge")
        self.assertFalse(properties.parent.parent.exists())

    def test_a_config_of_ones_own_is_not_touched_where_nothing_was_installed(self) -> None:
        self.toml.parent.mkdir()
        self.toml.write_text("workers = 1\n")
        before = self.tree()
        said = self.uninstall()
        self.assertIn("nothing is installed for the instance chat", said)
        self.assertEqual(self.tree(), before)


class Remedies(Installing):
    def test_where_no_daemon_is_reached_the_unit_is_named(self) -> None:
        done = self.run_in(self.app, "status", "--name", "chat")
        self.assertEqual(done.returncode, 3)
        self.assertIn("start one with `baskd serve --name chat`", done.stderr)
        self.install("controller.py")
        done = self.run_in(self.app, "status", "--name", "chat")
        self.assertEqual(done.returncode, 3)
        self.assertIn("start it with `systemctl --user start baskd@chat.socket`", done.stderr)
        self.systemctl.set(active={"baskd@chat.socket": "failed"})
        done = self.run_in(self.app, "status", "--name", "chat")
        self.assertIn("its unit has failed: `systemctl --user status baskd@chat.service", done.stderr)
        # Another socket is not the unit's.
        done = self.run_in(self.app, "status", "--socket", self.at.runtime / "chat.sock")
        self.assertIn("start one with `baskd serve --socket", done.stderr)

    def test_what_is_installed_is_started_by_systemd(self) -> None:
        self.install("controller.py")
        self.systemctl.calls()
        self.systemctl.set(refuses={"start": "Job for baskd@chat.socket failed."})
        for command in (("call", "counted"), ("start",)):
            done = self.run_in(self.app, *command, "--name", "chat")
            self.assertEqual((done.returncode, done.stdout), (3, ""))
            self.assertIn("systemd can't start baskd@chat.socket: Job for baskd@chat.socket failed", done.stderr)
            self.assertEqual(self.systemctl.calls(), ["start baskd@chat.socket"])
        # It says that it listens, and somebody has taken the path away.
        self.systemctl.set(refuses={})
        done = self.run_in(self.app, "start", "--name", "chat")
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("`systemctl --user restart baskd@chat.socket` makes it anew", done.stderr)
        self.systemctl.calls()
        done = self.run_in(self.app, "call", "counted", "--name", "chat", "--no-start")
        self.assertEqual(done.returncode, 3)
        self.assertEqual(self.systemctl.calls(), [])

    def test_what_failed_is_started_anew_once_its_config_is_right(self) -> None:
        self.install("controller.py")
        text = self.toml.read_text()
        failed = {"baskd@chat.socket": "failed", "baskd@chat.service": "failed"}
        reset = "reset-failed baskd@chat.socket baskd@chat.service"
        self.systemctl.calls()
        for command in (("call", "counted"), ("start",)):
            self.toml.write_text(text + "wrong = 1\n")
            self.systemctl.set(active=failed)
            self.run_in(self.app, *command, "--name", "chat")
            self.assertEqual(self.systemctl.calls(), ["start baskd@chat.socket"])
            self.toml.write_text(text)
            self.systemctl.set(active=failed)
            # Nobody listens behind this manager.
            self.assertEqual(self.run_in(self.app, *command, "--name", "chat").returncode, 3)
            self.assertEqual(self.systemctl.calls(), [reset, "start baskd@chat.socket"])
            self.assertEqual(self.systemctl.active(), {"baskd@chat.socket": "active"})

    def test_a_daemon_that_systemd_could_not_start_is_told(self) -> None:
        self.install("controller.py")
        path = self.at.socket("chat")
        path.parent.mkdir(mode=0o700)
        # The manager's socket, which takes a connection, and closes it when it has given up.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            # Another try ends as the first.
            self.systemctl.set(refuses={"reset-failed": "it failed again"})
            self.systemctl.set(active={"baskd@chat.socket": "active", "baskd@chat.service": "failed"})
            for command in (("status",), ("call", "counted"), ("start",)):
                with ThreadPoolExecutor(1) as pool:
                    asked = pool.submit(self.run_in, self.app, *command, "--name", "chat")
                    while not asked.done():
                        listener.settimeout(0.1)
                        with contextlib.suppress(TimeoutError):
                            listener.accept()[0].close()
                done = asked.result()
                self.assertEqual((done.returncode, done.stdout), (3, ""), command)
                self.assertIn("its unit has failed: `systemctl --user status baskd@chat.service", done.stderr)
            self.toml.write_text("workers = many\n")
            listener.close()
            done = self.run_in(self.app, "status", "--name", "chat")
            self.assertIn(f"its unit has failed: {self.toml}, line 1: ", done.stderr)
