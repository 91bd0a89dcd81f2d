"""The daemon ends by itself when nobody needs it, and loses nobody who comes at that moment."""

from __future__ import annotations

import random
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

from support.case import DaemonTest
from support.connection import Connection
from support.daemon import Daemon, Places
from support.framings import HttpConnection
from support.processes import command_of, marked

ENDS = r"stopping: no connection and no call for 300ms \(idle_exit\)"


class IdleTest(DaemonTest):
    own_daemon = True

    def come_in_time(self, controller: str, places: Places, config: str) -> tuple[Daemon, Connection]:
        for _ in self.tries():
            daemon = self.start(controller, places=places, config=config)
            try:
                return daemon, self.connect(daemon)
            except (FileNotFoundError, ConnectionRefusedError):
                self.assertEqual(daemon.wait(), 0)
        raise AssertionError("it is never there long enough")


class Idle(IdleTest):
    def start_idle(self, controller: str, places: Places, config: str = "") -> tuple[Daemon, Connection]:
        """One that somebody has come to; those that ended before, as this process was held up, do not count."""
        return self.come_in_time(controller, places, f'idle_exit = "300ms"\n{config}')

    def test_it_ends_as_if_it_had_been_asked(self) -> None:
        places = self.places()
        daemon, connection = self.start_idle("state.py", places)
        with connection:
            connection.call("setProperty", ["model", "m"])
        self.assertEqual(daemon.wait(), 0)
        daemon.wait_for_log(ENDS)
        daemon.wait_for_log("stopped with m")
        self.assertFalse(daemon.path.exists())
        next = self.start("state.py", places=places, config="")
        self.assertEqual(self.connect(next).call("getProperty", ["model"]), "m")

    def test_one_that_nobody_ever_came_to(self) -> None:
        self.assertEqual(self.start("never_ready.py", "--idle-exit", "50ms").wait(), 0)
        self.assertEqual(self.start("broken_import.py", "--idle-exit", "50ms").wait(), 0)

    def test_by_its_variable(self) -> None:
        daemon = self.start("lab.py", env={"BASKD_IDLE_EXIT": "50ms"})
        self.assertEqual(daemon.wait(), 0)

    def assertKept(self, connection: socket.socket) -> None:
        """That nothing happens to a connection for longer than the daemon may be idle."""
        self.assertEqual(select.select([connection], [], [], 1.0), ([], [], []))

    def test_a_connection_keeps_it(self) -> None:
        daemon, connection = self.start_idle("lab.py", self.places())
        self.assertKept(connection.socket)
        self.assertEqual(connection.call("add", [1]), 2)
        http = HttpConnection(daemon.path)
        self.addCleanup(http.close)
        self.assertEqual(http.ask("GET", "/metrics")[0], 200)
        connection.close()
        # As Prometheus keeps it between two scrapes.
        self.assertKept(http.sock)
        self.assertEqual(http.ask("GET", "/metrics")[0], 200)
        http.close()
        self.assertEqual(daemon.wait(), 0)

    def test_a_notifications_call_keeps_it(self) -> None:
        daemon, connection = self.start_idle("lab.py", self.places())
        with connection:
            # Its call outlives the connection, and runs longer than the daemon may be idle.
            connection.notify("sleep", [1, "notified"])
            connection.notify("speak", ["it has ended"])
            connection.call("daemon.status")
        self.assertEqual(daemon.wait(), 0)
        (slept,) = daemon.wait_for_log("it has ended print stdout")
        (ended,) = daemon.wait_for_log(ENDS)
        self.assertLess(daemon.log.index(slept), daemon.log.index(ended))

    def test_so_does_one_that_ends_without_its_client(self) -> None:
        daemon, connection = self.start_idle("lab.py", self.places(), 'on_disconnect = "finish"')
        with connection:
            connection.call("messages.subscribe", ["own"])
            connection.request("sleep", [1])
            connection.read()
            connection.request("speak", ["it has ended"])
            connection.call("daemon.status")
        self.assertEqual(daemon.wait(), 0)
        (slept,) = daemon.wait_for_log("it has ended print stdout")
        (ended,) = daemon.wait_for_log(ENDS)
        self.assertLess(daemon.log.index(slept), daemon.log.index(ended))

    def test_a_wrong_duration_is_refused(self) -> None:
        refused = self.places().run("serve", "--idle-exit", "soon")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("--idle-exit: must be a duration", refused.stderr)


class TheNext(IdleTest):
    def test_the_next_one_waits_for_the_end_of_the_one_before(self) -> None:
        places = self.places()
        gate = places.root / "gate"
        first, connection = self.come_in_time("slow_stop.py", places, 'idle_exit = "100ms"')
        with connection:
            connection.call("setProperty", ["gate", str(gate)])
            connection.call("setProperty", ["model", "m"])
        first.wait_for_log("on_stop has begun")
        self.assertFalse(first.path.exists())
        with ThreadPoolExecutor() as pool:
            starting = pool.submit(self.start, "slow_stop.py", places=places, config="")
            self.until(lambda: sum(" serve " in command_of(pid) for pid in marked(places.mark)) == 2)
            gate.touch()
            second = starting.result()
        first.wait_for_log("on_stop has ended")
        self.assertEqual(first.wait(), 0)
        self.assertEqual(self.connect(second).call("getProperty", ["model"]), "m")


class AtTheVeryTime(DaemonTest):
    """Clients that come again and again while daemons end and are started anew: served, or refused at connect."""

    own_daemon = True
    DAEMONS = 12
    CLIENTS = 6

    def client(self, places: Places, seed: int, is_over: threading.Event) -> tuple[int, int]:
        chance = random.Random(seed)
        served = refused = 0
        while not is_over.is_set():
            try:
                connection = Connection(places.socket())
            except (FileNotFoundError, ConnectionRefusedError):
                refused += 1
            else:
                with connection:
                    # Neither an end nor a reset instead of the answer, nor one by a daemon that stops.
                    if chance.random() < 0.2:
                        assert connection.call("add", [1]) == 2
                    else:
                        assert connection.call("daemon.status")["state"] in ("starting", "ready")
                    served += 1
            # About as long as a daemon lives without anybody.
            is_over.wait(chance.uniform(0, 0.02))
        return served, refused

    def test_nobody_is_dropped(self) -> None:
        places = self.places()
        is_over = threading.Event()
        with ThreadPoolExecutor(self.CLIENTS) as pool:
            clients = [pool.submit(self.client, places, seed, is_over) for seed in range(self.CLIENTS)]
            try:
                for _ in range(self.DAEMONS):
                    daemon = self.start("lab.py", "--log", "debug", "--idle-exit", "4ms", places=places)
                    daemon.wait_for_log(r"stopping: no connection and no call for 4ms")
            finally:
                is_over.set()
            counted = [client.result() for client in clients]
        self.assertEqual(daemon.wait(), 0)
        self.assertGreater(sum(served for served, _ in counted), self.DAEMONS)
        self.assertGreater(sum(refused for _, refused in counted), 0)
