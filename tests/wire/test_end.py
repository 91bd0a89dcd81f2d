"""The daemon ends: asked or killed, nothing of it is left."""

from __future__ import annotations

import os
import signal

from support.case import DaemonTest
from support.processes import wait_all_gone, wait_gone


class Stopping(DaemonTest):
    own_daemon = True

    def test_a_running_call_is_answered_and_a_new_one_refused(self) -> None:
        for stop in ("SIGTERM", "SIGINT", "daemon.shutdown"):
            daemon = self.start("lab.py")
            running, other = self.connect(daemon), self.connect(daemon)
            running.call("messages.subscribe", ["own"])
            gate = daemon.places.root / "gate"
            id = running.request("waitFor", [str(gate)])
            running.read()
            if stop == "daemon.shutdown":
                self.assertIs(other.call(stop), True)
            else:
                daemon.process.send_signal(getattr(signal, stop))
            daemon.wait_for_log("stopping: ")
            self.assertEqual(other.call("daemon.status")["state"], "stopping")
            # The backend learns of it right after; what is asked before that is served.
            while "error" not in (answer := other.answer(other.request("add", [1]))):
                pass
            self.assertError(answer["error"], -32024, by="shutdown")
            gate.touch()
            self.assertEqual(running.result(id), "found", stop)
            self.assertEqual(daemon.wait(), 0)
            self.assertFalse(daemon.path.exists())

    def test_what_still_runs_after_the_grace_is_cancelled(self) -> None:
        daemon = self.start("lab.py", "--grace", "300ms")
        connection = self.connect(daemon)
        connection.call("messages.subscribe", ["own"])
        id = connection.request("sleep", [60])
        connection.read()
        daemon.terminate()
        self.assertError(connection.answer(id)["error"], -32024, by="shutdown")
        self.assertEqual(daemon.wait(), 0)

    def test_asked_twice_it_goes_at_once(self) -> None:
        daemon = self.start("lab.py", "--grace", "60s")
        connection = self.connect(daemon)
        connection.call("messages.subscribe", ["own"])
        connection.request("sleep", [60])
        connection.read()
        daemon.terminate()
        daemon.wait_for_log("stopping: ")
        daemon.terminate()
        self.assertEqual(daemon.wait(), 1)
        wait_all_gone(daemon.places.mark)

    def test_while_python_starts_and_while_it_can_not(self) -> None:
        daemon = self.start("never_ready.py")
        daemon.wait_for_log("never_ready.py: waiting")
        connection = self.connect(daemon)
        id = connection.request("echo")
        # The request is taken in before the daemon hears of its end.
        connection.call("daemon.status")
        daemon.terminate()
        self.assertError(connection.answer(id)["error"], -32024, by="shutdown")
        self.assertEqual(daemon.wait(60), 0)
        broken = self.start("broken_import.py")
        broken.wait_for_log("not started again until")
        broken.terminate()
        self.assertEqual(broken.wait(), 0)

    def test_on_stop_is_run(self) -> None:
        daemon = self.start("state.py")
        connection = self.connect(daemon)
        connection.call("setProperty", ["model", "m"])
        daemon.terminate()
        self.assertEqual(daemon.wait(), 0)
        daemon.wait_for_log("stopped with m")

    def test_connections_that_idle_do_not_hold_it_up(self) -> None:
        daemon = self.start("lab.py")
        connections = [self.connect(daemon) for _ in range(20)]
        connections[0].write('{"half a mess')
        connections[1].call("logs.subscribe")
        connections[2].call("stream.call", {"method": "endless", "window": 1})
        daemon.terminate()
        self.assertEqual(daemon.wait(), 0)
        self.assertRaises(EOFError, connections[5].read_line)


class Orphans(DaemonTest):
    own_daemon = True

    def test_a_killed_daemon_takes_python_along(self) -> None:
        for method, params in (("sleep", [60]), ("stubborn", ["/nowhere"])):
            daemon = self.start("lab.py")
            connection = self.connect(daemon)
            pid = connection.call("pid")
            connection.call("messages.subscribe", ["own"])
            connection.request(method, params)
            connection.read()
            daemon.process.kill()
            wait_gone(pid)
            daemon.wait()

    def test_also_one_that_is_starting(self) -> None:
        daemon = self.start("never_ready.py")
        daemon.wait_for_log("never_ready.py: waiting")
        daemon.process.kill()
        daemon.wait()
        wait_all_gone(daemon.places.mark)

    def test_also_one_that_is_idle(self) -> None:
        daemon = self.start("lab.py")
        pid = daemon.python_pid()
        daemon.process.kill()
        wait_gone(pid)
        daemon.wait()

    def test_the_next_daemon_replaces_what_a_killed_one_left(self) -> None:
        places = self.places()
        first = self.start("lab.py", places=places)
        self.connect(first).call("setProperty", ["model", "m"])
        first.process.kill()
        first.wait()
        self.assertTrue(first.path.is_socket())
        second = self.start("lab.py", places=places)
        self.assertEqual(self.connect(second).call("getProperty", ["model"]), "m")
        second.close()
        wait_all_gone(places.mark)

    def test_a_stopped_python_does_not_outlive_it(self) -> None:
        daemon = self.start("lab.py")
        pid = daemon.python_pid()
        os.kill(pid, signal.SIGSTOP)
        daemon.process.kill()
        wait_gone(pid)
        daemon.wait()
