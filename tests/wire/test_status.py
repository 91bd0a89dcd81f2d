"""What the daemon counts and tells: daemon.status, daemon.cancel, the log of calls that take long, the page."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any, Optional

from support.case import DaemonTest
from support.connection import Connection
from support.daemon import Daemon

SPANS = {"10s", "1m", "5m"}


class StatusTest(DaemonTest):
    own_daemon = True

    def running(self, daemon: Daemon, method: str = "waitFor") -> tuple[Connection, int, Path]:
        """A connection whose call has begun, the call, and the file that lets it end."""
        release = daemon.places.root / f"release-{method}"
        connection = self.connect(daemon)
        subscription = connection.call("messages.subscribe", ["own"])
        call = connection.request(method, [str(release)])
        connection.event(subscription)
        return connection, call, release

    def write(self, daemon_or_root: Path, text: str) -> Path:
        path = daemon_or_root / "controller.py"
        path.write_text("from basecontroller import BaseController\n\nclass Controller(BaseController):\n" + text)
        return path


class UnderWay(StatusTest):
    def test_where_each_call_is(self) -> None:
        daemon = self.start("lab.py")
        connection, call, release = self.running(daemon)
        behind = [connection.request("add", [n]) for n in range(100)]
        # Asked by the same connection, so that it is after them.
        status = connection.call("daemon.status")
        calls = status["under_way"]
        self.assertEqual([told["method"] for told in calls], ["waitFor"] + 100 * ["add"])
        self.assertEqual((calls[0]["where"], calls[0]["worker"]), ("running", 1))
        self.assertEqual({told["where"] for told in calls[1:]}, {"queued"})
        # Some are sent ahead, and the others wait in the daemon.
        self.assertEqual(calls[-1]["worker"], None)
        numbers = [told["call"] for told in calls]
        self.assertEqual(numbers, sorted(numbers))
        self.assertEqual(status["in_flight"] + status["queued"], 101)
        self.assertEqual(set(calls[0]), {"call", "method", "worker", "age_ms", "where"})
        running = status["workers"][0]["running"]
        self.assertEqual([(told["call"], told["cancelled"]) for told in running], [(numbers[0], False)])
        release.touch()
        for id in [call, *behind]:
            connection.result(id)
        self.assertEqual(daemon.status()["under_way"], [])

    def test_while_python_starts(self) -> None:
        daemon = self.start("never_ready.py")
        connection = self.connect(daemon)
        connection.request("anything")
        connection.request("\n\x1b[31m" + 5000 * "x")
        first, second = connection.call("daemon.status")["under_way"]
        self.assertEqual((first["where"], first["worker"], first["method"]), ("starting", None, "anything"))
        # Nobody's words fill the page.
        self.assertLess(len(second["method"]), 300)
        page = daemon.places.run("status").stdout
        self.assertIn("0 running, 2 waiting (the oldest for ", page)
        self.assertNotIn("\x1b", page)

    def test_the_oldest_are_told_and_all_are_counted(self) -> None:
        daemon = self.start("lab.py")
        connection, call, release = self.running(daemon)
        calls = [connection.request("add", [n]) for n in range(300)]
        status = connection.call("daemon.status")
        self.assertEqual(status["in_flight"] + status["queued"], 301)
        told = status["under_way"]
        self.assertEqual((len(told), told[0]["method"]), (200, "waitFor"))
        self.assertEqual([one["call"] for one in told], list(range(told[0]["call"], told[0]["call"] + 200)))
        release.touch()
        for id in [call, *calls]:
            connection.result(id)

    def test_a_call_that_was_cancelled_and_has_not_left(self) -> None:
        daemon = self.start("lab.py")
        connection, call, release = self.running(daemon, "stubborn")
        (number,) = [told["call"] for told in daemon.status()["under_way"]]
        connection.call("rpc.cancel", [call])
        self.assertError(connection.answer(call)["error"], -32024, by="client")
        status = daemon.status()
        self.assertEqual((status["under_way"], status["in_flight"]), ([], 0))
        (running,) = status["workers"][0]["running"]
        self.assertEqual((running["call"], running["cancelled"]), (number, True))
        self.assertRegex(daemon.places.run("status").stdout, rf"stubborn, cancelled .* ago \(call {number}\)")
        self.assertFalse(self.connect(daemon).call("daemon.cancel", [number]))
        release.touch()
        self.until(lambda: not daemon.status()["workers"][0]["running"])


class Cancel(StatusTest):
    def test_anybody_s_call_by_its_number(self) -> None:
        daemon = self.start("lab.py")
        connection, running, release = self.running(daemon)
        queued = [connection.request("add", [n]) for n in range(20)]
        other = self.connect(daemon)
        calls = connection.call("daemon.status")["under_way"]
        for told in (calls[-1], calls[0]):
            self.assertIs(other.call("daemon.cancel", {"call": told["call"]}), True)
            self.assertIs(other.call("daemon.cancel", [told["call"]]), False)
        for id in (running, queued[-1]):
            self.assertError(connection.answer(id)["error"], -32024, by="client")
        for id in queued[:-1]:
            connection.result(id)
        self.assertIs(other.call("daemon.cancel", [calls[1]["call"]]), False, "it has ended")
        self.assertIs(other.call("daemon.cancel", [1 << 60]), False)
        # It ran in vain, and nobody is worse off.
        self.assertEqual(connection.call("add", [1]), 2)
        self.assertFalse(release.exists())

    def test_a_stream_s_call(self) -> None:
        daemon = self.start("generators.py")
        connection = self.connect(daemon)
        stream = connection.call("stream.call", {"method": "count", "params": [10**9], "window": 1})
        connection.event(stream)
        (told,) = self.connect(daemon).call("daemon.status")["under_way"]
        self.assertIs(self.connect(daemon).call("daemon.cancel", [told["call"]]), True)
        while "error" not in (event := connection.event(stream)["result"]):
            pass
        self.assertError(event["error"], -32024, by="client")

    def test_what_is_no_number(self) -> None:
        connection = self.connect(self.start("lab.py"))
        for params in (None, [], ["1"], [-1], {"id": 1}, [1, 2]):
            self.assertEqual(connection.error("daemon.cancel", params)["code"], -32602, params)


class Counted(StatusTest):
    def test_calls_and_their_times(self) -> None:
        daemon = self.start("lab.py")
        connection = self.connect(daemon)
        status = connection.call("daemon.status")
        self.assertEqual(status["methods"], [])
        self.assertEqual((status["latency"]["count"], status["latency"]["p99_ms"]), (0, None))
        self.assertEqual(set(status["rates"]), SPANS)
        for _ in range(99):
            connection.call("add", [1])
        connection.call("sleep", [0.3])
        connection.error("fail")
        connection.error("nope")
        connection.error("rpc.call", {"method": "sleep", "params": [60], "timeout_ms": 20})
        status = connection.call("daemon.status")
        methods = {told["method"]: told for told in status["methods"]}
        self.assertEqual([told["method"] for told in status["methods"]], ["add", "sleep", "fail"])
        counts = {name: (told["calls"], told["errors"]) for name, told in methods.items()}
        self.assertEqual(counts, {"add": (99, 0), "sleep": (2, 1), "fail": (1, 1)})
        for told in [*methods.values(), status["latency"]]:
            times = [told[name] for name in ("p50_ms", "p90_ms", "p99_ms", "max_ms")]
            self.assertEqual(times, sorted(times), told)
        self.assertGreater(methods["sleep"]["max_ms"], 300)
        latency = status["latency"]
        self.assertEqual(latency["count"], 102)
        self.assertEqual(sum(bucket["count"] for bucket in latency["buckets"]), 102)
        bounds = [bucket["le_ms"] for bucket in latency["buckets"]]
        self.assertEqual((bounds[0], bounds[-1]), (0.05, None))
        self.assertEqual(bounds[:-1], sorted(bounds[:-1]))
        within = {bucket["le_ms"]: bucket["count"] for bucket in latency["buckets"]}
        self.assertGreaterEqual(within[500] + within[1000] + within[2500], 1)
        # The one that is no method's is among them.
        rate = status["rates"]["5m"]
        self.assertAlmostEqual(rate["errors"] / rate["calls"], 3 / 103, places=2)
        self.assertGreater(rate["calls"], 1)

    def test_a_reload_neither_loses_a_count_nor_makes_more_of_them(self) -> None:
        places = self.places()
        path = self.write(places.root, "    def old(self): return 1\n    def kept(self): return 1\n")
        daemon = self.start(path, places=places)
        connection = self.connect(daemon)
        for method in ("old", "kept", "kept"):
            connection.call(method)
        self.write(places.root, "    def new(self): return 2\n    def kept(self): return 2\n")
        connection.call("daemon.reload")
        self.assertEqual(connection.call("kept"), 2)
        connection.call("new")
        connection.error("old")
        counts = {told["method"]: told["calls"] for told in connection.call("daemon.status")["methods"]}
        self.assertEqual(counts, {"kept": 3, "old": 1, "new": 1})

    def test_methods_without_end(self) -> None:
        places = self.places()
        body = (
            "    for n in range(10_000):\n        exec(f'def m{n}(self): return {n}')\n    def other(self): return 0\n"
        )
        daemon = self.start(self.write(places.root, body), places=places)
        connection = self.connect(daemon)
        for n in range(200):
            self.assertEqual(connection.call(f"m{9_999 - n}"), 9_999 - n)
        connection.call("other")
        methods = connection.call("daemon.status")["methods"]
        self.assertEqual(len(methods), 129)
        self.assertEqual((methods[0]["method"], methods[0]["calls"]), ("other", 73))
        self.assertEqual(sum(told["calls"] for told in methods), 201)


class LastError(StatusTest):
    def last(self, connection: Connection) -> Optional[dict[str, Any]]:
        error: Optional[dict[str, Any]] = connection.call("daemon.status")["last_error"]
        return error

    def test_whose_it_was_and_what(self) -> None:
        daemon = self.start("lab.py")
        connection = self.connect(daemon)
        connection.call("add", [1])
        self.assertIsNone(self.last(connection))
        before = connection.call("daemon.status")["started_ms"]
        error = connection.error("fail")
        told = self.last(connection)
        assert told is not None
        self.assertEqual((told["code"], told["name"], told["method"]), (-32020, "MethodError", "fail"))
        self.assertEqual(told["message"], error["message"][:200])
        self.assertGreaterEqual(told["at_ms"], before)
        connection.error("nope")
        told = self.last(connection)
        assert told is not None
        self.assertEqual((told["name"], told["method"]), ("MethodNotFound", None))
        connection.socket.sendall(b"{nonsense}\n")
        connection.read()
        told = self.last(connection)
        assert told is not None
        self.assertEqual((told["name"], told["method"]), ("ParseError", None))
        # Nobody else is told of a notification's.
        connection.notify("fail")
        connection.call("add", [1])
        told = self.last(connection)
        assert told is not None
        self.assertEqual((told["name"], told["method"]), ("MethodError", "fail"))

    def test_what_was_taken_back_is_no_error(self) -> None:
        daemon = self.start("lab.py")
        connection, call, _ = self.running(daemon)
        connection.call("rpc.cancel", [call])
        connection.answer(call)
        gone, _, _ = self.running(daemon)
        gone.close()
        self.until(lambda: not daemon.status()["under_way"])
        status = daemon.status()
        self.assertIsNone(status["last_error"])
        self.assertEqual(status["rates"]["1m"]["errors"], 0)
        self.assertGreater(status["rates"]["1m"]["calls"], 0)


class Exits(StatusTest):
    def test_how_pythons_ended_and_why_they_were_started_again(self) -> None:
        daemon = self.start("lab.py", config="max_calls = 50\n")
        connection = self.connect(daemon)
        self.assertEqual((daemon.status()["exits"], daemon.status()["last_exit"]), ([], None))
        connection.error("exit")
        os.kill(connection.call("pid"), signal.SIGKILL)
        connection.call("add", [1])
        connection.call("daemon.reload")
        connection.call("daemon.restart")
        status = connection.call("daemon.status")
        newest, oldest = status["exits"]
        self.assertEqual((newest["exit"], oldest["exit"]), ({"signal": 9}, {"code": 3}))
        self.assertEqual({told["worker"] for told in (newest, oldest)}, {1})
        self.assertGreaterEqual(newest["at_ms"], oldest["at_ms"])
        self.assertIn("SIGKILL", newest["reason"])
        self.assertNotIn("stderr", newest)
        self.assertEqual(status["last_exit"] | {"stderr": 0}, newest | {"stderr": 0})
        self.assertEqual(
            status["restarts_by"], {"crash": 2, "failed_start": 0, "reload": 1, "restart": 1, "recycled": 0}
        )
        for _ in range(60):
            connection.call("add", [1])
        self.until(lambda: daemon.status()["restarts_by"]["recycled"] == 1)
        page = daemon.places.run("status").stdout
        self.assertIn("2 after a crash, 1 by a reload, 1 by a restart, 1 because it was worn\n", page)

    def test_one_that_dies_while_it_ends_what_it_has(self) -> None:
        daemon = self.start("lab.py")
        connection, call, _ = self.running(daemon, "waitFor")
        connection.call("rpc.cancel", [call])
        stream = connection.call("stream.call", {"method": "items", "params": [10**6], "window": 1})
        connection.event(stream)
        old = daemon.status()["workers"][0]["pid"]
        connection.call("daemon.reload")
        os.kill(old, signal.SIGKILL)
        while "error" not in connection.event(stream)["result"]:
            pass
        self.until(lambda: daemon.status()["exits"])
        (told,) = daemon.status()["exits"]
        self.assertEqual(told["exit"], {"signal": 9})
        self.assertEqual(
            daemon.status()["restarts_by"], {"crash": 0, "failed_start": 0, "reload": 1, "restart": 0, "recycled": 0}
        )


class SlowCalls(StatusTest):
    def test_they_are_said_in_the_log(self) -> None:
        daemon = self.start("lab.py", config='slow_call = "100ms"\n')
        # Until it is ready, all take long.
        self.connect(daemon).call("add", [1])
        connection, first, release = self.running(daemon)
        behind = connection.request("rpc.call", {"method": "echo", "params": {"x": "a secret"}})
        late = connection.request("rpc.call", {"method": "echo", "timeout_ms": 150})
        self.assertError(connection.answer(late)["error"], -32023, where="queued")
        release.touch()
        connection.result(first)
        connection.result(behind)
        # One that had begun when its time was over.
        late_sleep = {"method": "sleep", "params": [60], "timeout_ms": 120}
        for _ in self.tries():
            if connection.error("rpc.call", late_sleep)["data"]["where"] == "running":
                break
        took = r"took [\d.]+ m?s: it waited [\d.]+ m?s and ran [\d.]+ m?s, and ended with"
        daemon.wait_for_log(rf"WARN .*slow call: `waitFor` \(call \d+\) {took} a result\b")
        daemon.wait_for_log(rf"slow call: `sleep` \(call \d+\) {took} TimedOut\b")
        daemon.wait_for_log(
            r"slow call: `echo` \(call \d+\) took [\d.]+ m?s: it has not begun, and ended with TimedOut\b"
        )
        (line,) = daemon.wait_for_log(rf"slow call: `echo` \(call \d+\) {took} a result\b")
        waited = re.search(r"waited ([\d.]+) (m?)s", line)
        assert waited
        # It stood behind the first, in Python or before it.
        self.assertGreater(float(waited[1]) * (1 if waited[2] else 1000), 140)
        lines = [line for line in daemon.log if "slow call" in line]
        self.assertFalse([line for line in lines if "secret" in line])

    def test_to_subscribers_and_of_methods_that_nobody_knows(self) -> None:
        daemon = self.start("never_ready.py", config="slow_call = 0.05\n")
        connection = self.connect(daemon)
        subscription = connection.call("logs.subscribe")
        connection.error("rpc.call", {"method": "a\nb`c", "timeout_ms": 100})
        # What Python prints meanwhile comes, too.
        while "slow call" not in (event := connection.event(subscription)["result"])["line"]:
            pass
        self.assertEqual((event["level"], event["stream"]), ("warn", "daemon"))
        self.assertRegex(
            event["line"], r"^slow call: `a\\nb`c` \(call 1\) took [\d.]+ m?s: it has not begun, and ended"
        )

    def test_those_that_are_quicker_are_not_and_none_without_the_setting(self) -> None:
        for config in ('slow_call = "1h"\n', None):
            daemon = self.start("lab.py", config=config)
            self.connect(daemon).call("sleep", [0.2])
            daemon.close()
            self.assertFalse([line for line in daemon.log if "slow call" in line])


class Page(StatusTest):
    def test_a_daemon_that_can_not_start_its_python(self) -> None:
        daemon = self.start("broken_import.py")
        daemon.wait_for_log("not started again", seconds=60)
        ended = daemon.places.run("status")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertRegex(ended.stdout, r"^default  unavailable, up .*\nreason      the controller can't be imported: ")
        self.assertIn("no Python runs", ended.stdout)
        self.assertIn("ModuleNotFoundError", ended.stdout)

    def test_a_worker_that_can_not_start_beside_one_that_serves(self) -> None:
        places = self.places()
        environment = places.environment(SEAT=str(places.root / "seat"))
        daemon = self.start("lonely.py", "--workers", "2", places=places, env=environment)
        daemon.wait_for_log("not started again", seconds=60)
        status = daemon.status()
        self.assertEqual((status["state"], status["reason"]), ("ready", None))
        (serving,), (down,) = status["workers"], status["down"]
        self.assertEqual(serving["pid"], self.connect(daemon).call("pid"))
        self.assertEqual({serving["worker"], down["worker"]}, {1, 2})
        self.assertEqual(down["state"], "unavailable")
        self.assertIn("FileExistsError", down["reason"])
        self.assertEqual(
            status["restarts_by"], {"crash": 0, "failed_start": 4, "reload": 0, "restart": 0, "recycled": 0}
        )
        page = daemon.places.run("status").stdout
        self.assertRegex(page, r"^default  ready with 1 of 2 workers, up ")
        self.assertRegex(page, rf"\n{down['worker']} +unavailable +- +- +- +- +.*FileExistsError")
        self.assertIn("restarts    4 after a failed start\n", page)

    def test_json_is_one_line_and_nothing_is_cut_or_coloured_in_a_pipe(self) -> None:
        daemon = self.start("lab.py")
        connection = self.connect(daemon)
        connection.error("fail")
        ended = daemon.places.run("status", "--json")
        self.assertEqual(ended.stdout.count("\n"), 1)
        page = daemon.places.run("status", env=daemon.places.environment(COLUMNS="20")).stdout
        self.assertIn(str(daemon.path), page)
        self.assertNotIn("\x1b", page)
        self.assertNotIn("…", page)
