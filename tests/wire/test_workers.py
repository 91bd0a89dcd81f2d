"""Several workers: who gets a call, what each of them knows, what the death of one costs."""

from __future__ import annotations

import os
import signal
import time

from support.case import DaemonTest
from support.connection import Connection

WORKERS = 3


def pids(connection: Connection) -> list[int]:
    return [worker["pid"] for worker in connection.call("daemon.status")["workers"]]


class Workers(DaemonTest):
    controller = "stateless.py"
    flags = ("--workers", str(WORKERS))

    def setUp(self) -> None:
        self.daemon.wait_for_log(r"\(worker \d of 3\) is ready", count=WORKERS)

    def test_status_shows_each(self) -> None:
        connection = self.connect()
        workers = connection.call("daemon.status")["workers"]
        self.assertEqual(len({worker["pid"] for worker in workers}), WORKERS)
        self.assertEqual({worker["state"] for worker in workers}, {"ready"})

    def test_calls_of_one_connection_run_beside_each_other_and_all_are_answered(self) -> None:
        connection = self.connect()
        folder = self.daemon.places.root / "meeting"
        folder.mkdir()
        # Each returns only once the others are there: so they run at the same time, in different processes.
        ids = [connection.request("meet", {"folder": str(folder), "others": WORKERS}) for _ in range(WORKERS)]
        self.assertEqual({connection.result(id) for id in ids}, set(pids(connection)))
        ids = [connection.request("pid") for _ in range(2000)]
        answered = {connection.result(id) for id in ids}
        self.assertLessEqual(answered, set(pids(connection)))

    def test_a_long_call_holds_up_none_that_another_worker_could_take(self) -> None:
        connection = self.connect()
        for _ in range(50):  # Calls take their time here: the daemon sees that.
            connection.call("work", {"seconds": 0.002})
        long = connection.request("wait", {"seconds": 600})
        busy = None
        while busy is None:
            workers = connection.call("daemon.status")["workers"]
            busy = next((worker["pid"] for worker in workers if worker["running"]), None)
        ids = [connection.request("work", {"seconds": 0.002}) for _ in range(30)]
        self.assertNotIn(busy, {connection.result(id) for id in ids})
        self.assertTrue(connection.call("rpc.cancel", {"id": long}))
        self.assertError(connection.answer(long)["error"], -32024, by="client")

    def test_a_property_reaches_every_worker_before_what_follows_it(self) -> None:
        connection = self.connect()
        for level in range(200):
            # In one write: none of these waits for the answer of the first.
            ids = [connection.request("setProperty", {"name": "level", "value": level})]
            ids += [connection.request("getLevel") for _ in range(2 * WORKERS)]
            self.assertEqual(connection.result(ids[0]), level)
            self.assertEqual({connection.result(id)[1] for id in ids[1:]}, {level})

    def test_a_stream_comes_from_one_worker_and_others_serve_meanwhile(self) -> None:
        connection = self.connect()
        stream = connection.call("stream.call", {"method": "count", "params": {"upto": 3000}, "window": 10})
        connection.event(stream)
        ids = [connection.request("pid") for _ in range(100)]
        self.assertEqual(len({connection.result(id) for id in ids} - set(pids(connection))), 0)
        connection.notify("stream.more", [stream, 5000])
        numbers = [1]
        makers = set()
        while "item" in (event := connection.event(stream)["result"]):
            makers.add(event["item"][0])
            numbers.append(event["item"][1] + 1)
        self.assertEqual(numbers, list(range(1, 3001)))
        self.assertEqual(len(makers), 1)


class Deaths(DaemonTest):
    own_daemon = True

    def test_the_death_of_one_costs_its_call_and_the_next_has_the_properties(self) -> None:
        daemon = self.start("stateless.py", "--workers", "2")
        daemon.wait_for_log(r"\(worker \d of 2\) is ready", count=2)
        connection = self.connect(daemon)
        connection.call("setProperty", {"name": "level", "value": 7})
        doomed = connection.request("wait")
        while not any(worker["running"] for worker in connection.call("daemon.status")["workers"]):
            pass
        workers = connection.call("daemon.status")["workers"]
        victim = next(worker["pid"] for worker in workers if worker["running"])
        survivor = next(worker["pid"] for worker in workers if not worker["running"])
        os.kill(victim, signal.SIGKILL)
        self.assertError(connection.answer(doomed)["error"], -32021, ran="yes", exit={"signal": 9})
        # Set while the next one starts, so that it was not in what that one was told at first.
        connection.call("setProperty", {"name": "level", "value": 8})
        daemon.wait_for_log(r"\(worker \d of 2\) is ready", count=3)
        folder = daemon.places.root / "meeting"
        folder.mkdir()
        ids = [connection.request("meet", {"folder": str(folder), "others": 2}) for _ in range(2)]
        met = {connection.result(id) for id in ids}
        self.assertEqual(len(met), 2)
        self.assertIn(survivor, met)
        seen: dict[int, int] = {}
        while len(seen) < 2:
            ids = [connection.request("getLevel") for _ in range(64)]
            for id in ids:
                pid, level = connection.result(id)
                seen[pid] = level
        self.assertEqual(set(seen.values()), {8})

    def test_a_storm_of_deaths_answers_every_call_once(self) -> None:
        daemon = self.start("stateless.py", "--workers", "2")
        daemon.wait_for_log(r"\(worker \d of 2\) is ready", count=2)
        connection = self.connect(daemon)
        ids = [connection.request("die" if n % 100 == 50 else "pid") for n in range(1000)]
        answers = [connection.answer(id) for id in ids]
        died = [answer["error"]["data"]["ran"] for answer in answers if "error" in answer]
        self.assertEqual(died, ["yes"] * 10)

    def test_restart_starts_all_anew_and_loses_nothing(self) -> None:
        daemon = self.start("stateless.py", "--workers", "2")
        daemon.wait_for_log(r"\(worker \d of 2\) is ready", count=2)
        connection, other = self.connect(daemon), self.connect(daemon)
        before = set(pids(connection))
        ids = [connection.request("work", {"seconds": 0.001}) for _ in range(200)]
        self.assertTrue(other.call("daemon.restart"))
        after = set(pids(other))
        self.assertEqual((len(after), before & after), (2, set()))
        for id in ids:
            connection.result(id)


class Affinity(DaemonTest):
    controller = "stateless.py"
    config = 'workers = 3\naffinity = "connection"\n'

    def test_a_client_stays_on_one_worker_and_several_are_spread(self) -> None:
        self.daemon.wait_for_log(r"\(worker \d of 3\) is ready", count=3)
        homes: list[int] = []
        for _ in range(6):
            connection = self.connect()
            ids = [connection.request("pid") for _ in range(300)]
            ran_on = {connection.result(id) for id in ids}
            self.assertEqual(len(ran_on), 1)
            homes += ran_on
        self.assertEqual(sorted(homes.count(home) for home in set(homes)), [2, 2, 2])


class Refusals(DaemonTest):
    own_daemon = True

    def test_a_controller_that_does_not_say_so_is_not_given_several(self) -> None:
        daemon = self.start(
            f"{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}/controllers/stateless.py:Stateful",
            "--workers",
            "2",
        )
        error = self.connect(daemon).error("pid")
        self.assertError(error, -32022)
        self.assertIn("stateless = True", error["message"])
        self.assertIn("class Stateful", error["message"])

    def test_an_idle_daemon_of_several_ends_at_once(self) -> None:
        daemon = self.start("stateless.py", "--workers", "4")
        daemon.wait_for_log(r"\(worker \d of 4\) is ready", count=4)
        running = self.connect(daemon).request("wait", {"seconds": 600})
        self.assertIsNotNone(running)
        began = time.monotonic()
        daemon.terminate()
        daemon.terminate()
        daemon.wait()
        self.assertLess(time.monotonic() - began, 15)
