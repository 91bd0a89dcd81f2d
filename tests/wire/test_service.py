"""A daemon that a manager starts: on the manager's socket, and with a manager that wants to be told."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from support.case import DaemonTest
from support.connection import Connection
from support.daemon import Daemon, Places
from support.manager import VARIABLES, Manager, environment_of, passing
from support.processes import marked


class Managed(DaemonTest):
    own_daemon = True

    def manager(self, name: str = "default", config: str = "") -> Manager:
        places = self.places()
        places.config(name).parent.mkdir(parents=True, exist_ok=True)
        places.config(name).write_text(config)
        manager = Manager(places, name)
        self.addCleanup(manager.close)
        return manager

    def serve(self, manager: Manager, *arguments: Any, **options: Any) -> Daemon:
        daemon = manager.start(*arguments, **options)
        self.addCleanup(daemon.close)
        return daemon

    def assertSocketIsTheManagers(self, manager: Manager) -> None:
        self.assertEqual(manager.path.stat().st_ino, manager.inode)


class TheSocket(Managed):
    def test_who_came_first_is_answered(self) -> None:
        manager = self.manager()
        connection = Connection(manager.path)
        self.addCleanup(connection.close)
        connection.request("add", [1], "first")
        daemon = self.serve(manager, "lab.py")
        self.assertEqual(connection.result("first"), 2)
        status = daemon.status()
        self.assertEqual(status["listening"], "systemd")
        self.assertEqual(status["socket"], str(manager.path))
        connection.close()
        daemon.terminate()
        self.assertEqual(daemon.wait(), 0)
        self.assertSocketIsTheManagers(manager)
        # It listens on, and the next one serves whoever has come meanwhile.
        waiting = Connection(manager.path)
        self.addCleanup(waiting.close)
        waiting.request("add", [2], "second")
        self.serve(manager, "lab.py")
        self.assertEqual(waiting.result("second"), 3)

    def test_one_of_its_own_says_so(self) -> None:
        self.assertEqual(self.start("lab.py").status()["listening"], "own")

    def test_a_kill_leaves_it_to_the_next(self) -> None:
        manager = self.manager()
        first = self.serve(manager, "lab.py")
        running = self.connect(first)
        running.call("messages.subscribe", ["own"])
        running.request("sleep", [60])
        running.read()
        first.process.kill()
        first.wait()
        self.assertSocketIsTheManagers(manager)
        # What it had is lost, and known to be.
        self.assertRaises((EOFError, ConnectionResetError), running.read_line)
        waiting = Connection(manager.path)
        self.addCleanup(waiting.close)
        waiting.request("add", [1], 1)
        self.serve(manager, "lab.py")
        self.assertEqual(waiting.result(1), 2)

    def test_without_a_name_it_is_the_instance_of_its_socket(self) -> None:
        manager = self.manager("search")
        (manager.places.root / "notify").exists()
        daemon = subprocess.Popen(
            [*passing(manager.socket.fileno())["through"], manager.places.environment()["BASKD_BIN"], "serve"],
            env=manager.places.environment(),
            pass_fds=[manager.socket.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            with Connection(manager.path) as connection:
                status = connection.call("daemon.status")
            self.assertEqual((status["name"], status["listening"]), ("search", "systemd"))
        finally:
            daemon.terminate()
            self.assertEqual(daemon.wait(20), 0)

    def refusal(self, places: Places, *descriptors: int, flags: tuple[str, ...] = ()) -> str:
        """What a daemon that was passed these says, for which it exits as for any usage error."""
        refused = subprocess.run(
            [*passing(*descriptors)["through"], places.environment()["BASKD_BIN"], "serve", *flags],
            env=places.environment(),
            pass_fds=descriptors,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertEqual(refused.returncode, 2, refused.stderr)
        return refused.stderr

    def test_what_is_no_socket_to_serve_on_is_refused(self) -> None:
        manager = self.manager()
        places, held = manager.places, manager.socket.fileno()
        datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        stream = socket.socket(socket.AF_UNIX)
        nameless = socket.socket(socket.AF_UNIX)
        nameless.bind(b"\0baskd-test-" + os.urandom(8))
        nameless.listen()
        for made in (datagrams, stream, nameless):
            self.addCleanup(made.close)
        with open("/dev/null") as file:
            self.assertIn("no Unix stream socket", self.refusal(places, file.fileno()))
        self.assertIn("no Unix stream socket", self.refusal(places, datagrams.fileno()))
        self.assertIn("Accept=no", self.refusal(places, stream.fileno()))
        self.assertIn("has no path", self.refusal(places, nameless.fileno()))
        self.assertIn("2 sockets were passed", self.refusal(places, held, stream.fileno()))
        told = self.refusal(places, held, flags=("--name", "other"))
        self.assertIn(str(manager.path), told)
        self.assertIn(str(places.socket("other")), told)
        manager.path.parent.chmod(0o755)
        open_folder = subprocess.run(
            [*passing(held)["through"], places.environment()["BASKD_BIN"], "serve"],
            env=places.environment(),
            pass_fds=[held],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertIn("chmod 700", open_folder.stderr)
        self.assertNotEqual(open_folder.returncode, 0)

    def test_one_that_was_started_by_hand_has_its_name(self) -> None:
        places = self.places()
        by_hand = self.start("lab.py", places=places)
        by_hand.path.unlink()
        manager = Manager(places)
        self.addCleanup(manager.close)
        with self.assertRaisesRegex(AssertionError, f"started by hand .*pid {by_hand.pid}, .*: end that process"):
            self.serve(manager, "lab.py")
        by_hand.close()
        self.assertSocketIsTheManagers(manager)
        self.assertEqual(self.serve(manager, "lab.py").status()["listening"], "systemd")

    def test_what_was_passed_to_another_is_not_its_own(self) -> None:
        daemon = self.start("lab.py", env={"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
        self.assertEqual(daemon.status()["listening"], "own")


class ByHand(Managed):
    """Somebody starts a daemon of a name whose socket a manager has."""

    def test_it_is_refused_and_starts_nothing(self) -> None:
        manager = self.manager("chat")
        for is_systemd, remedy in ((False, "choose another --socket"), (True, "systemctl --user start baskd@chat`")):
            if is_systemd:
                self.as_systemd()
            refused = manager.places.run("serve", "--name", "chat")
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn(remedy, refused.stderr)
            # Nobody has connected, by which systemd would have started the daemon.
            self.assertEqual(select.select([manager.socket], [], [], 0), ([], [], []))
        self.assertSocketIsTheManagers(manager)
        # Nor does it keep the manager's own from its place.
        self.serve(manager, "lab.py")

    def test_it_is_refused_while_the_managers_runs(self) -> None:
        manager = self.manager("chat")
        daemon = self.serve(manager, "lab.py")
        refused = manager.places.run("serve", "--name", "chat")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn(f"pid {daemon.pid}, ", refused.stderr)
        self.assertIn("`systemctl --user stop baskd@chat.socket baskd@chat.service`", refused.stderr)
        self.assertEqual(daemon.status()["connections"], 1)

    def test_a_stop_says_that_it_comes_back(self) -> None:
        manager = self.manager("chat")
        daemon = self.serve(manager, "lab.py")
        stopped = manager.places.run("stop", "--name", "chat")
        self.assertEqual(stopped.returncode, 0)
        self.assertIn("the next connection starts it again", stopped.stderr)
        self.assertIn("`systemctl --user stop baskd@chat.socket baskd@chat.service`", stopped.stderr)
        self.assertEqual(daemon.wait(), 0)
        self.assertEqual(self.start("lab.py", places=manager.places).places.run("stop").stderr, "")


class Told(Managed):
    """What it says by `sd_notify`."""

    def steps(self, manager: Manager, since: int = 0) -> list[str]:
        """What it has told that counts."""
        told = [next(iter(message)) for _, message in manager.told[since:]]
        return [name for name in told if name in ("READY", "RELOADING", "STOPPING")]

    def test_ready_when_python_is(self) -> None:
        manager = self.manager()
        gate = manager.places.root / "gate"
        daemon = self.serve(manager, "starts_when.py", env={"GATE": str(gate)})
        manager.wait_for_status("starting starts_when.py:Controller")
        manager.wait(lambda message: int(message.get("EXTEND_TIMEOUT_USEC", 0)) > 5_000_000)
        connection = self.connect(daemon)
        connection.request("count", id="early")
        connection.call("daemon.status")
        self.assertEqual(manager.all("READY"), [])
        gate.touch()
        ready = manager.wait_for(READY="1")
        self.assertRegex(ready["STATUS"], r"^ready: \d+ methods, 1 worker, 1 call, 0 restarts$")
        self.assertEqual(connection.result("early"), 1)
        for _ in range(1233):
            connection.call("count")
        manager.wait(lambda message: message.get("STATUS", "").endswith("1 worker, 1,234 calls, 0 restarts"))
        daemon.kill_python()
        daemon.python_pid()
        manager.wait(lambda message: message.get("STATUS", "").endswith(", 1 restart"))
        # READY was told once, and nothing twice, nor oftener than once a second.
        self.assertEqual(manager.all("READY"), ["1"])
        texts = manager.all("STATUS")
        self.assertTrue(all(one != other for one, other in zip(texts, texts[1:])), texts)
        alone = [at for at, message in manager.told if list(message) == ["STATUS"]]
        self.assertTrue(all(later - earlier > 0.9 for earlier, later in zip(alone, alone[1:])), manager.told)

    def test_ready_when_it_is_clear_that_python_can_not_be(self) -> None:
        manager = self.manager()
        daemon = self.serve(manager, "broken_import.py")
        ready = manager.wait_for(READY="1")
        self.assertIn("a_library_that_is_not_installed", ready["STATUS"])
        unavailable = manager.wait_for_status("unavailable: ")
        self.assertIn("a_library_that_is_not_installed", unavailable["STATUS"])
        self.assertError(self.connect(daemon).error("echo"), -32022)
        self.assertEqual(manager.all("READY"), ["1"])

    def test_a_reload(self) -> None:
        for mode in ("beside", "replace"):
            manager = self.manager(config=f'reload_mode = "{mode}"')
            controller = manager.places.root / "controller.py"
            controller.write_text("class Controller:\n    def one(self): return 1\n")
            daemon = self.serve(manager, controller)
            manager.wait_for(READY="1")
            connection = self.connect(daemon)
            before = manager.mark()
            controller.write_text("class Controller:\n    def one(self): return 1\n    def two(self): return 2\n")
            self.assertIs(connection.call("daemon.reload"), True)
            reloading = manager.wait_for(before, RELOADING="1")
            self.assertGreater(int(reloading["MONOTONIC_USEC"]), 0)
            self.assertEqual(reloading["STATUS"], "reloading")
            ready = manager.wait_for(before, READY="1")
            self.assertRegex(ready["STATUS"], "^ready: 4 methods")
            self.assertEqual(self.steps(manager, before), ["RELOADING", "READY"])

    def test_a_reload_that_fails(self) -> None:
        manager = self.manager()
        controller = manager.places.root / "controller.py"
        controller.write_text("class Controller:\n    def one(self): return 1\n")
        daemon = self.serve(manager, controller)
        manager.wait_for(READY="1")
        before = manager.mark()
        controller.write_text("class Controller(\n")
        self.assertError(self.connect(daemon).error("daemon.reload"), -32022)
        manager.wait_for(before, RELOADING="1")
        ready = manager.wait_for(before, READY="1")
        self.assertRegex(ready["STATUS"], "^ready: .*; the last reload failed: .*SyntaxError")

    def test_a_reload_that_a_changed_file_makes(self) -> None:
        manager = self.manager(config="watch = true")
        controller = manager.places.root / "controller.py"
        controller.write_text("class Controller:\n    def one(self): return 1\n")
        self.serve(manager, controller)
        manager.wait_for(READY="1")
        before = manager.mark()
        controller.write_text("class Controller:\n    def one(self): return 1\n    def two(self): return 2\n")
        manager.wait_for(before, RELOADING="1")
        self.assertRegex(manager.wait_for(before, READY="1")["STATUS"], "^ready: 4 methods")

    def test_a_hangup_is_a_reload(self) -> None:
        manager = self.manager()
        daemon = self.serve(manager, "lab.py")
        manager.wait_for(READY="1")
        connection = self.connect(daemon)
        first = connection.call("pid")
        for turn in range(3):
            before = manager.mark()
            daemon.process.send_signal(signal.SIGHUP)
            manager.wait_for(before, RELOADING="1")
            manager.wait_for(before, READY="1")
            self.assertEqual(connection.call("daemon.status")["reloads"], turn + 1)
        self.assertNotEqual(connection.call("pid"), first)
        # It is no stop that would make the next one a second: that one goes by its grace.
        daemon.terminate()
        self.assertEqual(daemon.wait(), 0)

    def test_a_hangup_without_a_manager_is_a_stop(self) -> None:
        daemon = self.start("lab.py")
        daemon.process.send_signal(signal.SIGHUP)
        self.assertEqual(daemon.wait(), 0)

    def test_its_stop(self) -> None:
        manager = self.manager()
        gate = manager.places.root / "gate"
        daemon = self.serve(manager, "lab.py")
        connection = self.connect(daemon)
        connection.call("messages.subscribe", ["own"])
        id = connection.request("waitFor", [str(gate)])
        connection.read()
        manager.wait_for(READY="1")
        before = manager.mark()
        daemon.terminate()
        self.assertEqual(manager.wait_for(before, STOPPING="1")["STATUS"], "stopping")
        manager.wait(lambda message: "EXTEND_TIMEOUT_USEC" in message, before)
        gate.touch()
        self.assertEqual(connection.result(id), "found")
        self.assertEqual(daemon.wait(), 0)
        self.assertEqual(manager.all("READY", before), [])

    def test_one_that_ends_before_python_is_ready_has_not_failed(self) -> None:
        manager = self.manager()
        daemon = self.serve(manager, "never_ready.py", "--idle-exit", "50ms")
        self.assertEqual(daemon.wait(), 0)
        manager.wait_for(STOPPING="1")
        self.assertEqual(self.steps(manager), ["READY", "STOPPING"])

    def test_a_manager_that_does_not_listen_holds_up_nothing(self) -> None:
        places = self.places()
        deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(deaf.close)
        deaf.bind(str(places.root / "deaf"))
        for path in ("deaf", "not there"):
            env = {"NOTIFY_SOCKET": str(places.root / path), "WATCHDOG_USEC": "3000"}
            daemon = self.start("lab.py", places=places, env=env)
            # It is told a few hundred times a second, and takes some.
            connection = self.connect(daemon)
            connection.call("sleep", [0.3])
            self.assertEqual(connection.call("add", [1]), 2)
            daemon.terminate()
            self.assertEqual(daemon.wait(), 0)

    def test_an_abstract_name(self) -> None:
        name = b"\0baskd-test-" + os.urandom(4).hex().encode()
        notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notified.close)
        notified.bind(name)
        notified.settimeout(20)
        self.start("lab.py", env={"NOTIFY_SOCKET": "@" + name[1:].decode()})
        while b"READY=1" not in notified.recv(4096):
            pass

    def test_what_it_starts_knows_of_no_manager(self) -> None:
        manager = self.manager(config="standby = true")
        env = {"WATCHDOG_USEC": "20000000"}
        daemon = self.serve(manager, "lab.py", env=env)
        manager.wait_for(READY="1")
        others = [pid for pid in marked(manager.places.mark) if pid != daemon.pid]
        self.assertIn(daemon.python_pid(), others)
        # Python and its guard.
        self.assertGreaterEqual(len(others), 2)
        for pid in others:
            self.assertEqual([name for name in VARIABLES if name in environment_of(pid)], [])
            links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
            self.assertNotIn(f"socket:[{os.fstat(manager.socket.fileno()).st_ino}]", links)


class Watchdog(Managed):
    def feed(self, manager: Manager, times: int, since: int) -> None:
        """Waits until it was fed so often."""
        manager.wait(lambda _: len(manager.all("WATCHDOG", since)) >= times, since)

    def test_it_is_fed_while_a_controller_is_busy_and_not_while_the_daemon_hangs(self) -> None:
        manager = self.manager()
        daemon = self.serve(manager, "lab.py", env={"WATCHDOG_USEC": "150000"})
        connection = self.connect(daemon)
        connection.call("messages.subscribe", ["own"])
        gate = manager.places.root / "gate"
        id = connection.request("stubborn", [str(gate)])
        connection.read()
        # Six times as long as it may not be heard of.
        self.feed(manager, 18, manager.mark())
        daemon.process.send_signal(signal.SIGSTOP)
        self.until(lambda: Path(f"/proc/{daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T")
        # What had been sent by then has come: the reader is asked by a message of ours.
        manager.tell(MARK="1")
        manager.wait_for(MARK="1")
        before = manager.mark()
        os.waitid(os.P_PID, daemon.pid, os.WSTOPPED | os.WNOWAIT)
        with self.assertRaisesRegex(AssertionError, "not told within"):
            manager.wait(lambda _: len(manager.all("WATCHDOG", before)) >= 2, before, seconds=0.5)
        daemon.process.send_signal(signal.SIGCONT)
        self.feed(manager, 2, manager.mark())
        gate.touch()
        self.assertEqual(connection.result(id), "done")

    def test_it_is_not_fed_for_another(self) -> None:
        manager = self.manager()
        env = {"WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(os.getpid())}
        daemon = self.serve(manager, "lab.py", env=env)
        self.connect(daemon).call("sleep", [0.3])
        self.assertEqual(manager.all("WATCHDOG"), [])
