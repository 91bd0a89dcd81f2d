"""Python dies: who is answered what, and what comes after."""

from __future__ import annotations

import os
import signal

from support.case import DaemonTest
from support.processes import wait_gone


class Crashes(DaemonTest):
    own_daemon = True

    def test_the_call_that_ran_is_answered_with_exit_and_last_words(self) -> None:
        connection = self.connect(self.start("crash.py"))
        error = connection.error("leave", [7])
        self.assertError(error, -32021, ran="yes", exit={"code": 7})
        self.assertIn("leaving", error["data"]["stderr"])
        for method, number in (("kill", signal.SIGKILL), ("segfault", signal.SIGSEGV), ("abort", signal.SIGABRT)):
            self.assertError(connection.error(method), -32021, ran="yes", exit={"signal": int(number)})
            self.assertEqual(connection.call("echo", [method]), [method])

    def test_calls_behind_it_are_answered_by_the_next_process(self) -> None:
        connection = self.connect(self.start("lab.py"))
        pid = connection.call("pid")
        dying = connection.request("exit")
        behind = [connection.request("pid") for _ in range(200)]
        self.assertError(connection.answer(dying)["error"], -32021, ran="yes", exit={"code": 3})
        pids = {connection.result(id) for id in behind}
        self.assertEqual(len(pids), 1)
        self.assertNotEqual(pids, {pid})

    def test_a_stream_ends_with_the_crash(self) -> None:
        connection = self.connect(self.start("crash.py"))
        stream = connection.call("stream.call", {"method": "send_then_leave"})
        self.assertEqual(connection.event(stream)["result"], {"item": "before"})
        self.assertError(connection.event(stream)["result"]["error"], -32021, ran="yes", exit={"code": 4})
        self.assertIn("error", connection.event(stream))

    def test_a_kill_while_idle_costs_nobody_anything(self) -> None:
        daemon = self.start("lab.py")
        connection = self.connect(daemon)
        for _ in range(5):
            old = daemon.kill_python()
            self.assertNotEqual(connection.call("pid"), old)
        self.assertEqual(connection.call("daemon.status")["last_exit"]["exit"], {"signal": 9})

    def test_half_an_answer_is_none(self) -> None:
        connection = self.connect(self.start("dies_mid_reply.py"), seconds=60)
        self.assertError(connection.error("reply"), -32021, ran="yes", exit={"code": 5})
        self.assertEqual(connection.call("echo", [1]), [1])

    def test_an_exception_that_only_looks_like_an_end(self) -> None:
        connection = self.connect(self.start("crash.py"))
        pid = connection.call("pid")
        for method in ("exit", "interrupt", "generator_exit", "fail_badly", "memory", "recursion", "type_error"):
            self.assertError(connection.error(method), -32020)
        self.assertEqual(connection.call("pid"), pid)

    def test_a_wire_that_was_closed_is_a_crash(self) -> None:
        connection = self.connect(self.start("crash.py"))
        self.assertError(connection.error("close_everything"), -32021, ran="yes")
        self.assertEqual(connection.call("echo", [1]), [1])

    def test_a_grandchild_that_holds_the_pipes_delays_nothing(self) -> None:
        connection = self.connect(self.start("lab.py"))
        grandchild = connection.call("grandchild", [60])
        try:
            # Within the connection's patience, which is less than the grandchild lives.
            self.assertError(connection.error("exit"), -32021, ran="yes", exit={"code": 3})
            self.assertEqual(connection.call("add", [1]), 2)
            os.kill(grandchild, 0)  # It left the group, so it lives; a signal of 0 only asks.
        finally:
            os.kill(grandchild, signal.SIGKILL)

    def test_a_child_of_its_group_ends_with_it(self) -> None:
        connection = self.connect(self.start("lab.py"))
        child = connection.call("child", [60])
        connection.error("exit")
        wait_gone(child)


class Breaker(DaemonTest):
    own_daemon = True

    def test_what_can_not_be_imported_is_said_at_once_and_mended_by_the_file(self) -> None:
        places = self.places()
        controller = places.root / "controller.py"
        controller.write_text("import a_library_that_is_not_there\n")
        daemon = self.start(controller)
        connection = self.connect(daemon)
        error = connection.error("hello")
        self.assertError(error, -32022)
        self.assertIn("a_library_that_is_not_there", error["data"]["reason"])
        self.assertIn("ModuleNotFoundError", "\n".join([error["data"]["reason"], *error["data"]["stderr"]]))
        daemon.wait_for_log("not started again until")
        status = connection.call("daemon.status")
        self.assertEqual(status["state"], "unavailable")
        self.assertIn("a_library_that_is_not_there", status["reason"])
        self.assertIsNone(connection.error("hello")["data"]["retry_ms"])

        controller.write_text("class Controller:\n    def hello(self):\n        return 'hello'\n")
        daemon.wait_for_log("is ready after")
        self.assertEqual(connection.call("hello"), "hello")
        self.assertEqual(connection.call("daemon.status")["state"], "ready")

    def test_the_reason_names_the_stage(self) -> None:
        for file, reason in (
            ("broken_import.py", "a_library_that_is_not_installed"),
            ("broken_start.py", "the model is not there"),
        ):
            connection = self.connect(self.start(file))
            error = connection.error("echo")
            self.assertError(error, -32022)
            self.assertIn(reason, error["data"]["reason"])
            self.assertIn(reason, error["message"])

    def test_a_controller_that_dies_at_once_opens_it_and_a_restart_closes_it(self) -> None:
        places = self.places()
        controller, flag = places.root / "controller.py", places.root / "mended"
        controller.write_text(
            "import os, sys\n"
            f"if not os.path.exists({str(flag)!r}):\n"
            "    print('no licence', file=sys.stderr, flush=True)\n"
            "    os._exit(9)\n"
            "class Controller:\n    def hello(self):\n        return 'hello'\n"
        )
        daemon = self.start(controller)
        connection = self.connect(daemon)
        daemon.wait_for_log("not started again until")
        error = connection.error("hello")
        self.assertError(error, -32022, retry_ms=None)
        self.assertIn("no licence", error["data"]["stderr"])
        self.assertError(connection.error("daemon.restart"), -32022)
        daemon.wait_for_log("not started again until", count=2)
        flag.touch()
        self.assertIs(connection.call("daemon.restart"), True)
        self.assertEqual(connection.call("hello"), "hello")

    def test_deaths_after_an_answer_never_open_it(self) -> None:
        daemon = self.start("lab.py")
        connection = self.connect(daemon)
        for _ in range(10):
            connection.call("pid")
            self.assertError(connection.error("exit"), -32021, ran="yes")
        connection.call("pid")
        self.assertEqual(connection.call("daemon.status")["state"], "ready")


class Restart(DaemonTest):
    own_daemon = True

    def test_a_restart_lets_the_running_call_end_and_keeps_the_queued(self) -> None:
        daemon = self.start("lab.py")
        connection, other = self.connect(daemon), self.connect(daemon)
        pid = other.call("pid")
        connection.call("messages.subscribe", ["own"])
        gate = daemon.places.root / "gate"
        running = connection.request("waitFor", [str(gate)])
        connection.read()
        restart = other.request("daemon.restart")
        daemon.wait_for_log("restart: running calls are ended first")
        queued = other.request("pid")
        gate.touch()
        self.assertEqual(connection.result(running), "found")
        self.assertIs(other.result(restart), True)
        self.assertNotEqual(other.result(queued), pid)

    def test_it_ends_the_old_process(self) -> None:
        daemon = self.start("lab.py")
        connection = self.connect(daemon)
        pid = connection.call("pid")
        self.assertIs(connection.call("daemon.restart"), True)
        wait_gone(pid)
        self.assertEqual(connection.call("daemon.status")["workers"][0]["pid"], connection.call("pid"))
