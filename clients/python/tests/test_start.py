"""A daemon that is started where none answers, by a `baskd` that a test plays."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import unittest
import unittest.mock
from pathlib import Path
from typing import Any

import baskd
from baskd._start import find_binary
from tests.fake import WAIT, FakeDaemon, Peer
from tests.starting import FakeBaskd


class StartTest(unittest.TestCase):
    def setUp(self) -> None:
        self.daemon = FakeDaemon()
        self.addCleanup(self.daemon.__exit__)
        self.daemon.stop()
        self.program = FakeBaskd(self)

    def thread(self, function: Any, *args: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=args, daemon=True)
        thread.start()
        self.addCleanup(thread.join, WAIT)
        return thread

    def start(self) -> list[str]:
        """Plays a `baskd start` that succeeds."""
        told = self.program.told()
        self.daemon.start()
        self.program.ends(0)
        return told

    def client(self, **options: Any) -> baskd.Client:
        client = baskd.Client(socket=self.daemon.path, **options)
        self.addCleanup(client.close)
        return client


class Starting(StartTest):
    def test_connect_starts_one(self) -> None:
        told: list[str] = []
        start = self.thread(lambda: told.extend(self.start()))
        with baskd.connect(socket=self.daemon.path) as backend:
            self.assertEqual(backend.echo(1), [1])
        start.join(WAIT)
        self.assertEqual(told, ["start", "--socket", self.daemon.path])

    def test_what_it_is_told(self) -> None:
        with unittest.mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": os.path.dirname(self.daemon.path)}):
            for variables, options, expected in (
                ({}, {"name": "mine"}, ["--name", "mine"]),
                ({"BASKD_SOCKET": "/s/x.sock"}, {"name": "mine"}, ["--name", "mine"]),
                ({"BASKD_SOCKET": "/s/x.sock"}, {}, ["--socket", "/s/x.sock"]),
                ({"BASKD_NAME": "other"}, {}, ["--name", "other"]),
                ({}, {}, ["--name", "default"]),
                (
                    {},
                    {"controller": Path("a/b.py"), "python": Path(".venv")},
                    ["a/b.py", "--name", "default", "--python", ".venv"],
                ),
                ({}, {"controller": "package.module:Class"}, ["package.module:Class", "--name", "default"]),
            ):
                with unittest.mock.patch.dict(os.environ, variables):
                    client = baskd.Client(**options)
                self.assertEqual(client._connection.target.arguments(), expected)

    def test_paths_mean_what_they_meant_when_they_were_given(self) -> None:
        with open(self.program.path) as file:
            script = file.read()
        folders: list[str] = []
        with tempfile.TemporaryDirectory() as folder, open(self.program.path, "w") as file:
            file.write(script.replace('"$@"', '"$(pwd)"'))
            file.flush()
            here = os.getcwd()
            self.addCleanup(os.chdir, here)
            client = self.client(controller="controller.py")
            os.chdir(folder)
            self.daemon.special["daemon.status"] = lambda peer, message: peer.answer(message["id"], {})
        os.chdir(here)
        start = self.thread(lambda: folders.extend(self.start()))
        self.assertEqual(client.echo(1), [1])
        start.join(WAIT)
        self.assertEqual(folders, [here])

    def test_a_call_starts_one_when_the_last_has_gone(self) -> None:
        backend = self.client()
        self.thread(self.start)
        self.assertEqual(backend.echo(1), [1])
        self.daemon.stop()
        self.thread(self.start)
        self.assertEqual(backend.echo(2), [2])
        self.assertEqual(self.program.runs, 2)

    def test_a_call_that_was_under_way_and_is_idempotent(self) -> None:
        self.daemon.start()
        backend = self.client()
        handle = backend.submit("hang", [5], idempotent=True)
        self.daemon.expect("hang")
        self.daemon.special["hang"] = lambda peer, message: peer.answer(message["id"], message["params"])
        self.daemon.stop()
        self.thread(self.start)
        self.assertEqual(handle.result(), [5])

    def test_subscribing_starts_one_too(self) -> None:
        backend = self.client()
        self.thread(self.start)
        messages = backend.messages()
        backend.talk("a")
        self.assertEqual(next(messages).data, "a")

    def test_a_subscription_that_was_lost_starts_none(self) -> None:
        self.daemon.start()
        backend = self.client()
        messages = backend.messages()
        got: list[Any] = []
        reader = self.thread(lambda: got.append(next(messages)))
        with unittest.mock.patch("baskd._retry._LONGEST_SECONDS", 0.1):
            self.daemon.stop()
            self.daemon.start()
            reader.join(WAIT)
        self.assertEqual((got[0].restarted, self.program.runs), (True, 0))

    def test_threads_share_one_start(self) -> None:
        backend = self.client()
        results: list[Any] = []
        threads = [self.thread(lambda number=number: results.append(backend.echo(number))) for number in range(8)]
        self.start()
        for thread in threads:
            thread.join(WAIT)
        self.assertEqual(sorted(results), [[number] for number in range(8)])
        self.assertEqual(self.program.runs, 1)

    def test_a_call_waits_for_it_as_long_as_it_may(self) -> None:
        backend = self.client()
        with self.assertRaises(baskd.TimedOut) as late:
            backend.call("echo", [1], timeout=0.1)
        self.assertEqual(late.exception.where, "starting")
        self.thread(self.start)  # it has gone on
        self.assertEqual(backend.call("echo", [1], timeout=WAIT), [1])
        self.assertEqual(self.program.runs, 1)

    def test_close_wakes_who_waits_for_it(self) -> None:
        backend = self.client()
        errors: list[Any] = []

        def call() -> None:
            try:
                backend.echo(1)
            except baskd.Disconnected as error:
                errors.append(str(error))

        waiting = self.thread(call)
        self.program.told()
        backend.close()
        waiting.join(WAIT)
        self.assertEqual(errors, ["This client was closed."])
        self.program.ends(0)


class Failing(StartTest):
    def test_what_it_said_is_the_error(self) -> None:
        def fail() -> None:
            self.program.told()
            self.program.ends(3, "error: can't listen: the disk is full\n")

        self.thread(fail)
        with self.assertRaises(baskd.StartFailed) as failed:
            self.client().call("echo", timeout=WAIT)
        self.assertIn("the disk is full", str(failed.exception))
        self.assertEqual(failed.exception.data["status"], 3)
        self.assertEqual(failed.exception.data["command"][:2], [self.program.path, "start"])

    def test_one_that_says_nothing(self) -> None:
        def fail() -> None:
            self.program.told()
            self.program.ends(2)

        self.thread(fail)
        with self.assertRaisesRegex(baskd.StartFailed, "ended with status 2 and said nothing"):
            baskd.connect(socket=self.daemon.path)

    def test_nothing_to_start(self) -> None:
        def refuse() -> None:
            self.program.told()
            self.program.ends(2, "nothing to start: name a controller (`baskd start path/to/controller.py`)\n")

        self.thread(refuse)
        with self.assertRaisesRegex(baskd.NotRunning, "name a controller") as failed:
            self.client().echo(1)
        self.assertIs(type(failed.exception), baskd.NotRunning)

    def test_opting_out(self) -> None:
        for variable, start in (("0", True), ("", False)):
            with unittest.mock.patch.dict(os.environ, {"BASKD_START": variable}):
                with self.assertRaisesRegex(baskd.NotRunning, "baskd serve") as failed:
                    baskd.connect(socket=self.daemon.path, start=start)
                self.assertIs(type(failed.exception), baskd.NotRunning)
        self.assertEqual(self.program.runs, 0)

    def test_a_program_that_is_none(self) -> None:
        os.chmod(self.program.path, 0o600)
        with self.assertRaisesRegex(baskd.StartFailed, "BASKD_BIN"):
            self.client().echo(1)

    def test_where_no_thread_can_be_had(self) -> None:
        """Who comes next tries again."""
        backend = self.client()
        no_more = unittest.mock.patch(
            "baskd._start.threading.Thread.start", side_effect=RuntimeError("no more threads")
        )
        with no_more, self.assertRaises(RuntimeError):
            backend.echo(1)
        self.thread(self.start)
        self.assertEqual(backend.call("echo", [1], timeout=WAIT), [1])

    def test_a_program_that_can_not_be_run(self) -> None:
        with open(self.program.path, "w") as file:
            file.write("#!/nowhere/interpreter\n")
        with self.assertRaisesRegex(baskd.StartFailed, "Can't run") as failed:
            self.client().echo(1)
        self.assertIsNone(failed.exception.data["status"])

    def test_a_daemon_with_another_controller(self) -> None:
        def status(peer: Peer, message: Any) -> None:
            served = {"spec": "/x/other.py:Controller", "file": "/x/other.py", "class": "Controller", "embedded": False}
            peer.answer(message["id"], {"controller": served})

        self.daemon.special["daemon.status"] = status
        self.daemon.start()
        for _ in range(2):
            with self.assertRaisesRegex(baskd.WrongController, "serves /x/other.py:Controller, not mine.py"):
                self.client(controller="mine.py").echo(1)
        for controller in ("/x/other.py", "/x/other.py:Controller", "/x/y/../other.py"):
            self.assertEqual(self.client(controller=controller).echo(1), [1])
        self.assertEqual(self.program.runs, 0)


class Finding(unittest.TestCase):
    def test_the_program(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder, "target", "debug", "baskd")
            on_path = Path(folder, "bin", "baskd")
            for path in (built, on_path):
                path.parent.mkdir(parents=True)
                path.touch(0o700)
            module = os.path.join(folder, "clients", "python", "src", "baskd", "_start.py")
            patched = unittest.mock.patch.dict(os.environ, {"PATH": "/nowhere", "BASKD_BIN": ""})
            with unittest.mock.patch("baskd._start.__file__", module), patched:
                with self.assertRaisesRegex(baskd.StartFailed, "cargo install"):
                    find_binary("/s")
                Path(folder, "Cargo.toml").touch()
                self.assertEqual(find_binary("/s"), os.path.realpath(built))
                os.environ["PATH"] = str(on_path.parent)
                self.assertEqual(find_binary("/s"), str(on_path))
                os.environ["BASKD_BIN"] = str(built)
                self.assertEqual(find_binary("/s"), str(built))


class Async(StartTest):
    def run_async(self, main: Any) -> None:
        async def run() -> None:
            async with baskd.AsyncClient(socket=self.daemon.path) as backend:
                await main(backend)

        asyncio.run(run())

    def test_connecting_starts_one_and_so_does_a_call(self) -> None:
        async def main(backend: baskd.AsyncClient) -> None:
            self.assertEqual(await backend.echo(1), [1])
            self.daemon.stop()
            self.thread(self.start)
            results = await asyncio.gather(*(backend.echo(number) for number in range(8)))
            self.assertEqual(results, [[number] for number in range(8)])

        self.thread(self.start)
        self.run_async(main)
        self.assertEqual(self.program.runs, 2)

    def test_a_subscription_that_was_asked_for_comes_before_the_call(self) -> None:
        async def main() -> None:
            backend = baskd.AsyncClient(socket=self.daemon.path)
            messages = backend.messages()
            self.thread(self.start)
            await backend.talk("a")
            self.assertEqual((await messages.__anext__()).data, "a")
            await backend.close()

        asyncio.run(main())

    def test_the_first_step_of_a_subscription_starts_one(self) -> None:
        async def main() -> None:
            backend = baskd.AsyncClient(socket=self.daemon.path)
            messages = backend.messages()
            waiting = asyncio.ensure_future(messages.__anext__())
            await asyncio.get_running_loop().run_in_executor(None, self.start)
            await asyncio.get_running_loop().run_in_executor(None, self.daemon.expect, "messages.subscribe")
            await backend.talk("a")
            self.assertEqual((await waiting).data, "a")
            await backend.close()

        asyncio.run(main())

    def test_what_it_said_is_the_error(self) -> None:
        def fail() -> None:
            self.program.told()
            self.program.ends(3, "the disk is full")

        async def main() -> None:
            self.thread(fail)
            with self.assertRaisesRegex(baskd.StartFailed, "the disk is full"):
                await baskd.connect_async(socket=self.daemon.path)
            self.thread(fail)
            backend = baskd.AsyncClient(socket=self.daemon.path)
            with self.assertRaisesRegex(baskd.StartFailed, "the disk is full"):
                await backend.messages().__anext__()
            with self.assertRaises(baskd.NotRunning):
                await baskd.connect_async(socket=self.daemon.path, start=False)

        asyncio.run(main())

    def test_a_call_waits_for_it_as_long_as_it_may_and_close_wakes_it(self) -> None:
        async def main() -> None:
            backend = baskd.AsyncClient(socket=self.daemon.path)
            with self.assertRaises(baskd.TimedOut) as late:
                await backend.call("echo", timeout=0.1)
            self.assertEqual(late.exception.where, "starting")
            waiting = asyncio.ensure_future(backend.echo(1))
            await asyncio.get_running_loop().run_in_executor(None, self.program.told)
            await backend.close()
            with self.assertRaisesRegex(baskd.Disconnected, "closed"):
                await waiting
            self.program.ends(0)

        asyncio.run(main())
        self.assertEqual(self.program.runs, 1)

    def test_a_daemon_with_another_controller(self) -> None:
        served = {"controller": {"spec": "package.module:Controller", "class": "Controller"}}
        self.daemon.special["daemon.status"] = lambda peer, message: peer.answer(message["id"], served)
        self.daemon.start()

        async def main() -> None:
            with self.assertRaises(baskd.WrongController):
                await baskd.connect_async(socket=self.daemon.path, controller="mine.py")
            async with baskd.connect_async(socket=self.daemon.path, controller="package.module") as backend:
                self.assertEqual(await backend.echo(1), [1])

        asyncio.run(main())


if __name__ == "__main__":
    unittest.main()
