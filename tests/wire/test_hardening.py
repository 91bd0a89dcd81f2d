"""What a reviewer broke once: each case was a hang, an orphan, or a loss."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from support.case import DaemonTest
from support.daemon import Daemon
from support.processes import wait_gone


class Written(DaemonTest):
    """Daemons of controllers that are written here."""

    own_daemon = True

    def serve(self, source: str, *flags: str, **options: object) -> Daemon:
        controller = self.places().root / "controller.py"
        controller.write_text(source)
        return self.start(controller, *flags, **options)


class Ends(Written):
    def test_what_python_has_started_ends_with_a_killed_daemon(self) -> None:
        daemon = self.serve(
            "import multiprocessing, subprocess\n"
            "class Controller:\n"
            "    def __init__(self):\n"
            "        self.pool = multiprocessing.get_context('fork').Pool(1)\n"
            "        self.child = subprocess.Popen(['sleep', '600'])\n"
            "    def pids(self):\n"
            "        return [self.child.pid, *(process.pid for process in self.pool._pool)]\n"
        )
        connection = self.connect(daemon)
        pids = [daemon.python_pid(), *connection.call("pids")]
        daemon.process.kill()
        for pid in pids:
            wait_gone(pid)

    def test_a_call_that_outlasts_the_grace_is_cancelled_and_python_stops_in_order(self) -> None:
        daemon = self.serve(
            "import sys, time\n"
            "class Controller:\n"
            "    def work(self):\n"
            "        self.send('begun')\n"
            "        try:\n"
            "            while True:\n"
            "                time.sleep(0.05)\n"
            "        finally:\n"
            "            print('tidied up', file=sys.stderr)\n"
            "    def on_stop(self):\n"
            "        print('stopped in order', file=sys.stderr)\n",
            "--grace",
            "200ms",
        )
        connection = self.connect(daemon)
        connection.call("messages.subscribe", ["own"])
        call = connection.request("work")
        connection.read()
        daemon.terminate()
        self.assertError(connection.answer(call)["error"], -32024, by="shutdown")
        daemon.wait_for_log("tidied up")
        daemon.wait_for_log("stopped in order")
        self.assertEqual(daemon.wait(), 0)

    def test_a_kill_during_a_stop_is_told_as_what_it_is(self) -> None:
        daemon = self.start("lab.py")
        connection = self.connect(daemon)
        pid = daemon.python_pid()
        connection.call("messages.subscribe", ["own"])
        call = connection.request("waitFor", [str(daemon.places.root / "never")])
        connection.read()
        daemon.terminate()
        daemon.wait_for_log("stopping")
        os.kill(pid, signal.SIGKILL)
        self.assertError(connection.answer(call)["error"], -32021, ran="yes", exit={"signal": 9})

    def test_a_concurrent_method_that_forks_leaves_no_child(self) -> None:
        daemon = self.serve(
            "import os, baskd\n"
            "class Controller:\n"
            "    @baskd.concurrent\n"
            "    def fork(self):\n"
            "        return os.fork()\n"
        )
        wait_gone(self.connect(daemon).call("fork"))


class Answers(Written):
    def test_a_result_that_is_not_json(self) -> None:
        connection = self.connect(self.start("lab.py"))
        for method in ("nan", "bytes"):
            error = connection.error(method)
            self.assertError(error, -32026)
            self.assertTrue(error["data"]["path"].startswith("$"), error)
        self.assertIsInstance(connection.call("pid"), int)

    def test_a_property_that_can_not_be_written_to_disk(self) -> None:
        daemon = self.start("lab.py")
        connection = self.connect(daemon)
        connection.call("pid")
        journal = daemon.places.state / "baskd" / "default" / "properties.json"
        journal.mkdir()  # Nothing can be renamed over a folder.
        error = connection.error("setProperty", ["level", 5])
        self.assertError(error, -32603)
        self.assertIn("will not outlive the daemon", error["message"])
        self.assertEqual(connection.call("getProperty", ["level"]), 5)
        self.assertEqual(connection.call("setProperty", ["token", 6]), 6)
        journal.rmdir()
        self.assertEqual(connection.call("setProperty", ["level", 7]), 7)
        self.assertIn("level", journal.read_text())
        self.assertNotIn("token", journal.read_text())


class Limits(Written):
    def test_properties_can_not_be_smuggled_in_beside_each_other(self) -> None:
        connection = self.connect(self.start("lab.py"), seconds=60)
        connection.call("pid")
        asked = [connection.request("setProperty", [f"p{number}", number]) for number in range(1100)]
        refused = [answer["error"] for id in asked if "error" in (answer := connection.answer(id))]
        self.assertEqual(len(refused), 1100 - 1024)
        for error in refused:
            self.assertError(error, -32025, limit=1024)

    def test_subscriptions_that_may_lose_events(self) -> None:
        connection = self.connect(self.start("lab.py"))
        for _ in range(3):  # Those that were ended are not counted.
            ids = [connection.call("messages.subscribe", ["all"]) for _ in range(8)]
            ids += [connection.call("logs.subscribe") for _ in range(8)]
            self.assertError(connection.error("logs.subscribe"), -32006, limit=16)
            for id in ids:
                self.assertIs(connection.call("messages.unsubscribe", [id]), True)


class Restarts(Written):
    def test_a_storm_of_them_is_one_or_two_and_a_stop_comes_first(self) -> None:
        daemon = self.start("lab.py")
        connection, other = self.connect(daemon), self.connect(daemon)
        connection.call("pid")
        for _ in range(20_000):
            connection.notify("daemon.restart")
        asked = [connection.request("daemon.restart") for _ in range(50)]
        for id in asked:
            self.assertIs(connection.result(id), True)
        self.assertIsInstance(other.call("pid"), int)
        self.assertLess(other.call("daemon.status")["restarts"], 10)
        for _ in range(20_000):
            connection.notify("daemon.restart")
        daemon.terminate()
        self.assertEqual(daemon.wait(), 0)

    def test_a_stop_does_not_wait_for_a_restart(self) -> None:
        daemon = self.start("lab.py", "--grace", "100ms")
        connection = self.connect(daemon)
        connection.call("messages.subscribe", ["own"])
        call = connection.request("waitFor", [str(daemon.places.root / "never")])
        connection.read()
        connection.request("daemon.restart")
        daemon.wait_for_log("running calls are ended first")
        daemon.terminate()
        self.assertError(connection.answer(call)["error"], -32024, by="shutdown")
        self.assertEqual(daemon.wait(seconds=8), 0)


class Starts(Written):
    def test_a_property_that_needs_on_start_is_there_after_a_crash(self) -> None:
        daemon = self.serve(
            "import os\n"
            "class Controller:\n"
            "    def on_start(self):\n"
            "        self.engine = {}\n"
            "    @property\n"
            "    def volume(self):\n"
            "        return self.engine['volume']\n"
            "    @volume.setter\n"
            "    def volume(self, value):\n"
            "        self.engine['volume'] = value\n"
            "    def leave(self):\n"
            "        os._exit(3)\n"
        )
        connection = self.connect(daemon)
        connection.call("setProperty", ["volume", 5])
        connection.error("leave")
        self.assertEqual(connection.call("getProperty", ["volume"]), 5)

    def test_a_property_that_can_not_be_set_any_more_keeps_nobody_from_starting(self) -> None:
        places = self.places()
        controller = places.root / "controller.py"
        controller.write_text("class Controller:\n    def hello(self):\n        return 1\n")
        with Daemon(controller, places=places) as daemon:
            connection = self.connect(daemon)
            for name in ("level", "other"):
                connection.call("setProperty", [name, 5])
        controller.write_text("class Controller:\n    def level(self):\n        return 2\n")
        with Daemon(controller, places=places) as daemon:
            connection = self.connect(daemon)
            self.assertEqual((connection.call("level"), connection.call("getProperty", ["other"])), (2, 5))
            daemon.wait_for_log("the property level can't be set again")

    def test_what_can_not_be_told_of_a_method_is_left_out(self) -> None:
        daemon = self.serve(
            "class Controller:\n"
            "    def f(self, x=10**400, y='\\ud800', z=[[]] * 3):\n"
            "        '\\ud800 lone'\n"
            "        return 1\n"
        )
        self.assertEqual(self.connect(daemon).call("f"), 1)

    def test_a_start_that_failed_is_answered_though_the_process_lingers(self) -> None:
        daemon = self.serve(
            "import atexit, threading\n"
            "class Controller:\n"
            "    def on_start(self):\n"
            "        atexit.register(threading.Event().wait)\n"
            "        raise ValueError('no model')\n"
            "    def f(self):\n"
            "        return 1\n"
        )
        error = self.connect(daemon).error("f")
        self.assertError(error, -32022)
        self.assertIn("no model", error["data"]["reason"])

    def test_a_print_before_the_router_is_a_log_line(self) -> None:
        places = self.places()
        (places.root / "sitecustomize.py").write_text("import os\nos.write(1, b'hello from site')\n")
        daemon = self.start("lab.py", env={"PYTHONPATH": str(places.root)})
        daemon.kill_python()  # What has no newline is a line at the end.
        daemon.wait_for_log("hello from site")

    def test_safe_path(self) -> None:
        daemon = self.start("lab.py", env={"PYTHONSAFEPATH": "1"})
        self.assertIsInstance(self.connect(daemon).call("pid"), int)

    def test_a_path_that_json_can_not_carry_is_refused(self) -> None:
        places = self.places()
        folder = Path(f"{places.root}/\udcff")
        folder.mkdir()
        (folder / "controller.py").write_text("class Controller:\n    def f(self):\n        return 1\n")
        done = places.run("serve", str(folder / "controller.py"))
        self.assertEqual(done.returncode, 2)
        self.assertIn("UTF-8", done.stderr)

    def test_state_that_others_can_write_to_is_refused(self) -> None:
        places = self.places()
        (places.state / "baskd" / "default").mkdir(parents=True, mode=0o755)
        done = places.run("serve")
        self.assertEqual(done.returncode, 1)
        self.assertIn("chmod 700", done.stderr)

    def test_one_instance_has_one_daemon_whatever_its_socket(self) -> None:
        places = self.places()
        with Daemon(None, places=places):
            done = places.run("serve", "--name", "default", "--socket", str(places.runtime / "other.sock"))
            self.assertEqual(done.returncode, 1)
            self.assertIn("runs already", done.stderr)


class SpoiledWire(DaemonTest):
    """User code writes to the router's own descriptor, without a newline: the line that follows is spoiled."""

    own_daemon = True

    CONTROLLER = """
import os, stat

def wire():
    # The pipes above stderr that can be written to; the one to the daemon is the first.
    for name in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            if name > 2 and stat.S_ISFIFO(os.fstat(name).st_mode):
                with open(f"/proc/self/fdinfo/{name}") as info:
                    if int(info.read().split("flags:")[1].split()[0], 8) & os.O_ACCMODE == os.O_WRONLY:
                        return name
        except OSError:
            pass

class Controller:
    def spoil(self, text: str):
        os.write(wire(), text.encode())
        return {"id": 1}

    def spoil_items(self, text: str):
        yield 1
        os.write(wire(), text.encode())
        yield 2
        return "end"
"""

    def test_its_answer_is_found_all_the_same(self) -> None:
        places = self.places()
        file = places.root / "controller.py"
        file.write_text(self.CONTROLLER)
        connection = self.connect(self.start(file, places=places), seconds=10)
        for text in (
            "xx",
            "{",
            '{"id":',
            'x{"id":',
            '{"id":1',
            '{"id":7,"resul',
            'x{"id":7,"result":1',
            '{"id":7,"result":[1,',
            '{"begun":',
            "__STREAM__",
            '__STREAM__{"id":9,"data":',
        ):
            with self.subTest(text):
                self.assertEqual(connection.call("spoil", {"text": text}), {"id": 1})
                stream = connection.call("stream.call", {"method": "spoil_items", "params": {"text": text}})
                events = [connection.event(stream)["result"] for _ in range(3)]
                self.assertEqual(events, [{"item": 1}, {"item": 2}, {"end": "end"}])
