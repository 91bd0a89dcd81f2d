"""Daemons that come and go on a socket that outlives them, under clients that never stop.

None is refused, and each call has one outcome, which is what happened to it.
"""

from __future__ import annotations

import collections
import itertools
import json
import random
import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support.case import DaemonTest
from support.connection import Connection, request
from support.daemon import Daemon, Places
from support.lines import whole_lines
from support.manager import Manager

#: What a client knows of a call: it was answered; it never began; it failed while it ran; nothing.
Outcomes = dict[int, str]


class Client:
    """Calls on one connection after another, some calls at a time, until it is over."""

    def __init__(self, path: Path, seed: int, numbers: itertools.count[int], is_over: threading.Event) -> None:
        self.path = path
        self.chance = random.Random(seed)
        self.numbers = numbers
        self.is_over = is_over
        self.outcomes: Outcomes = {}
        self.connections = 0

    def run(self) -> Client:
        while not self.is_over.is_set():
            # Refused, it would raise.
            with Connection(self.path) as connection:
                self.connections += 1
                self.talk(connection)
        return self

    def talk(self, connection: Connection) -> None:
        """A few bursts of calls, as long as the connection lives."""
        for _ in range(self.chance.randrange(1, 30)):
            if self.is_over.is_set():
                return
            burst = [next(self.numbers) for _ in range(self.chance.randrange(1, 8))]
            if not self.burst(connection, burst):
                return

    def burst(self, connection: Connection, burst: list[int]) -> bool:
        """Makes these calls, and notes what becomes of them. False if the connection is gone."""
        left = set(burst)
        for number in burst:
            method = "beside" if number % 5 == 0 else "plain"
            line = json.dumps(request(number, method, {"number": number})).encode() + b"\n"
            try:
                wrote = connection.socket.send(line)
                assert wrote == len(line), "a short line is taken whole"
            except (BrokenPipeError, ConnectionResetError):
                # It has not left this client: nobody can have run it. What comes after it is not even tried.
                for unsent in burst[burst.index(number) :]:
                    self.outcomes[unsent] = "never left"
                    left.discard(unsent)
                break
        while left:
            try:
                answer = connection.read()
            except (EOFError, ConnectionResetError):
                for number in left:
                    self.outcomes[number] = "in doubt"
                return False
            left.discard(answer["id"])
            self.outcomes[answer["id"]] = self.outcome(answer)
        return self.outcomes[burst[-1]] != "never left"

    def outcome(self, answer: dict[str, Any]) -> str:
        if "result" in answer:
            return "answered"
        error = answer["error"]
        if error["code"] == -32024 and error["data"]["by"] == "shutdown":
            return "never began" if error["data"].get("ran") == "no" else "ran"
        raise AssertionError(f"nobody has asked for this: {error}")


class Load(DaemonTest):
    own_daemon = True
    CLIENTS = 5

    def setUp(self) -> None:
        self.places_: Places = self.places()
        self.manager = Manager(self.places_)
        self.addCleanup(self.manager.close)
        self.marks = self.places_.root / "marks"
        self.marks.touch()
        self.is_over = threading.Event()
        self.addCleanup(self.is_over.set)

    def serve(self, *flags: str) -> Daemon:
        daemon = self.manager.start("marks.py", *flags, env={"MARKS": str(self.marks)})
        self.addCleanup(daemon.close)
        return daemon

    def clients(self, pool: ThreadPoolExecutor) -> list[Future[Client]]:
        numbers = itertools.count(1)
        made = [Client(self.manager.path, seed, numbers, self.is_over) for seed in range(self.CLIENTS)]
        return [pool.submit(client.run) for client in made]

    def begun(self) -> collections.Counter[int]:
        """How often each call was begun."""
        return collections.Counter(int(line.split()[1]) for line in whole_lines(self.marks))

    def until_more(self, than: int, clients: list[Future[Client]]) -> None:
        """Waits for calls to begin, of clients that have not failed."""

        def are_there() -> bool:
            for client in clients:
                if client.done():
                    client.result()
            return sum(self.begun().values()) >= than

        self.until(are_there)

    def check(self, clients: list[Future[Client]]) -> collections.Counter[str]:
        """That each outcome is what happened; how many there are of each."""
        told: Outcomes = {}
        for client in clients:
            told |= client.result().outcomes
        begun = self.begun()
        for number, outcome in told.items():
            times = begun[number]
            if outcome == "answered":
                self.assertEqual(times, 1, f"call {number}: {outcome}")
            elif outcome in ("never began", "never left"):
                self.assertEqual(times, 0, f"call {number}: {outcome}")
            else:
                self.assertLessEqual(times, 1, f"call {number}: {outcome}")
        self.assertEqual(set(begun) - set(told), set())
        self.assertEqual(self.manager.path.stat().st_ino, self.manager.inode)
        return collections.Counter(told.values())


class Restarts(Load):
    def test_a_restart_refuses_nobody_and_leaves_nobody_in_doubt(self) -> None:
        with ThreadPoolExecutor(self.CLIENTS) as pool:
            daemon = self.serve()
            clients = self.clients(pool)
            try:
                for turn in range(6):
                    self.until_more(sum(self.begun().values()) + 200, clients)
                    daemon.terminate()
                    if turn % 2:
                        self.assertEqual(daemon.wait(), 0)
                    # Else it waits for the end of the one before.
                    following = self.serve()
                    self.assertEqual(daemon.wait(), 0)
                    daemon = following
                self.until_more(sum(self.begun().values()) + 200, clients)
            finally:
                self.is_over.set()
            counted = self.check(clients)
        self.assertGreater(counted["answered"], 1000)
        # A stop is no loss: whoever is cut off knows that nothing of it has run.
        self.assertEqual(counted["in doubt"], 0, counted)
        self.assertEqual(counted["ran"], 0, counted)
        self.assertGreater(counted["never began"] + counted["never left"], 0, counted)

    def test_a_kill_refuses_nobody_and_runs_nothing_twice(self) -> None:
        with ThreadPoolExecutor(self.CLIENTS) as pool:
            daemon = self.serve()
            clients = self.clients(pool)
            try:
                for _ in range(6):
                    self.until_more(sum(self.begun().values()) + 200, clients)
                    daemon.process.kill()
                    daemon.wait()
                    daemon = self.serve()
                self.until_more(sum(self.begun().values()) + 200, clients)
            finally:
                self.is_over.set()
            counted = self.check(clients)
        self.assertGreater(counted["answered"], 1000)
        self.assertGreater(counted["in doubt"], 0)
        self.assertEqual(counted["never began"] + counted["ran"], 0, counted)


class AtTheStop(Load):
    """What a client sends at the very end of a daemon is answered, or never leaves it."""

    def test_who_goes_on_asking_is_told_of_each_call(self) -> None:
        for _ in range(5):
            daemon = self.serve()
            connection = self.connect(daemon)
            connection.call("plain", [0])
            daemon.terminate()
            sent = 0
            while True:
                try:
                    connection.request("plain", [sent + 1], sent + 1)
                except BrokenPipeError:
                    break  # It can't have left this process.
                sent += 1
            answers: dict[int, Any] = {}
            while len(answers) < sent:
                answer = connection.read()
                answers[answer["id"]] = answer
            begun = self.begun()
            for number, answer in answers.items():
                refused = "error" in answer
                self.assertEqual(begun[number], 0 if refused else 1, answer)
                if refused:
                    self.assertError(answer["error"], -32024, by="shutdown", ran="no")
            self.assertRaises(EOFError, connection.read_line)
            self.assertEqual(daemon.wait(), 0)
            self.marks.write_text("")

    def test_so_is_who_asks_by_http(self) -> None:
        for _ in range(5):
            daemon = self.serve()
            connection = self.connect(daemon)
            daemon.wait_for_log("is ready after")
            body = json.dumps(request(1, "plain", [1])).encode()
            post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            connection.write(post)
            # The first answer: hyper has the connection.
            while b"}\n" not in connection.socket.recv(1 << 16):
                pass
            received = bytearray()

            def read(connection: Connection = connection, received: bytearray = received) -> None:
                while chunk := connection.socket.recv(1 << 16):
                    received.extend(chunk)

            with ThreadPoolExecutor(1) as pool:
                reading = pool.submit(read)
                daemon.terminate()
                sent = 0
                while True:
                    try:
                        connection.write(post)
                    except BrokenPipeError:
                        break
                    sent += 1
                reading.result()
            answers = received.count(b"HTTP/1.1 200 OK")
            refused = received.count(b'"ran":"no"')
            self.assertEqual(answers, sent)
            self.assertEqual(self.begun()[1], 1 + answers - refused)
            self.assertEqual(daemon.wait(), 0)
            self.marks.write_text("")

    def test_half_a_message_is_nobodys_mistake(self) -> None:
        daemon = self.serve()
        connection = self.connect(daemon)
        connection.write('{"jsonrpc":"2.0","id":1,"method":"plain"')
        with self.connect(daemon) as other:
            other.call("daemon.status")
        daemon.terminate()
        self.assertRaises(EOFError, connection.read_line)
        self.assertEqual(daemon.wait(), 0)


class Idle(Load):
    """Daemons that end for want of clients, and are started for the next one: whoever has connected is served."""

    DAEMONS = 12
    PATIENCE = 30.0

    def client(self, seed: int) -> int:
        chance = random.Random(seed)
        served = 0
        while not self.is_over.is_set():
            # Never refused, never cut off.
            with Connection(self.manager.path, self.PATIENCE) as connection:
                if chance.random() < 0.3:
                    assert connection.call("plain", [seed]) == seed
                else:
                    assert connection.call("daemon.status")["state"] in ("starting", "ready")
            served += 1
            # About as long as a daemon lives without anybody.
            self.is_over.wait(chance.uniform(0, 0.03))
        return served

    def test_nobody_is_lost(self) -> None:
        with ThreadPoolExecutor(self.CLIENTS) as pool:
            clients = [pool.submit(self.client, seed) for seed in range(self.CLIENTS)]
            ended = 0
            try:
                while ended < self.DAEMONS and self.manager.until_wanted(self.is_over):
                    daemon = self.serve("--log", "debug", "--idle-exit", "4ms")
                    daemon.wait_for_log(r"stopping: no connection and no call for 4ms", seconds=60)
                    self.assertEqual(daemon.wait(), 0)
                    ended += 1
                # Those who wait now are served by one that stays.
                last = self.serve()
            finally:
                self.is_over.set()
            counted = [client.result() for client in clients]
        last.close()
        self.assertEqual(ended, self.DAEMONS)
        self.assertGreater(sum(counted), self.DAEMONS)
        self.assertEqual(self.manager.path.stat().st_ino, self.manager.inode)

    def test_who_waits_when_it_has_ended_is_the_nexts(self) -> None:
        daemon = self.serve("--idle-exit", "1ms")
        self.assertEqual(daemon.wait(), 0)
        waiting = [self.manager.connect_only() for _ in range(50)]
        for connection in waiting:
            self.addCleanup(connection.close)
            connection.sendall(b'{"jsonrpc":"2.0","id":1,"method":"plain","params":[7]}')
            connection.shutdown(socket.SHUT_WR)
        self.serve("--idle-exit", "1ms")
        for connection in waiting:
            connection.settimeout(30)
            self.assertIn(b'"result":7', connection.recv(4096))
