"""Children of every kind, and the end of the process itself."""

from __future__ import annotations

import os
import signal
import unittest

from tests.support import FIXTURES, Spawned


class TestForks(unittest.TestCase):
    def test_no_child_writes_to_the_wire(self) -> None:
        for cls in ("Controller", "Async"):
            with Spawned(FIXTURES / "forks.py", cls=cls) as router:
                self.assertEqual(router.result("fork", [6]), 6)
                router.printed.expect("child here")
                self.assertEqual(router.result("fork_and_return"), 0)
                self.assertEqual(router.result("fork_and_exit"), 7)
                self.assertEqual(router.result("fork_and_send"), 9)
                router.printed.expect("child refused")
                self.assertEqual(router.items(router.call("fork_in_a_generator"))[0], ["before", 0])
                self.assertEqual(router.result("fork_in_a_thread"), [5])
                self.assertEqual(router.result("echo", [1]), [1])
            with Spawned(FIXTURES / "forks.py", cls=cls) as router:
                # A child must not go on with the calls that were read with its own.
                fork, *echoes = (router.ident() for _ in range(6))
                router.raw(
                    b'{"id":%d,"method":"fork_and_return"}\n' % fork
                    + b"".join(b'{"id":%d,"method":"echo"}\n' % ident for ident in echoes)
                )
                for ident in (fork, *echoes):
                    self.assertIn("result", router.answer(ident))
                self.assertEqual(router.result("how_many"), 5)
        with Spawned(FIXTURES / "forks.py", cls="Async") as router:
            self.assertEqual(router.result("later"), 0)

    def test_multiprocessing(self) -> None:
        with Spawned(FIXTURES / "forks.py") as router:
            for method in ("spawn", "fork", "forkserver"):
                self.assertEqual(router.result("pool", [method]), [1, 4, 9])
            router.printed.expect("squared 3")

    def test_a_grandchild_does_not_keep_it(self) -> None:
        with Spawned(FIXTURES / "forks.py") as router:
            pid = router.result("orphan")
            self.assertEqual(router.wait(), 0)
            os.kill(pid, signal.SIGKILL)


class TestEnd(unittest.TestCase):
    def test_what_was_read_is_finished(self) -> None:
        with Spawned(FIXTURES / "crash.py") as router:
            idents = [router.call("echo", [n]) for n in range(50)]
            router.end_input()
            self.assertEqual([router.read()["id"] for _ in idents], idents)
            self.assertEqual(router.wait(), 0)

    def test_an_end_in_the_middle_of_a_line(self) -> None:
        with Spawned(FIXTURES / "crash.py") as router:
            router.raw(b'{"id":32769,"method":"ec')
            router.end_input()
            router.allow_unread = True  # an answer, or none: the daemon is gone
            self.assertEqual(router.wait(), 0)

    def test_an_end_before_hello(self) -> None:
        import subprocess
        import sys

        from tests.support import INDEX, PAGE

        page = os.memfd_create("page")
        os.ftruncate(page, PAGE)
        null = os.open(os.devnull, os.O_RDWR)
        done = subprocess.run(
            [sys.executable, str(INDEX)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=[null, page],
            env={**os.environ, "BASKD_FDS": f"{null},{null},{page}"},
            timeout=20,
            check=False,
        )
        os.close(page)
        os.close(null)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))

    def test_exit_handlers_run(self) -> None:
        source = (
            "import atexit, threading\natexit.register(print, 'at exit')\nclass Controller:\n"
            " def f(self):\n  threading.Thread(target=threading.Event().wait).start()\n"
            " def g(self):\n  pass\n def on_stop(self):\n  raise ValueError('no')\n"
        )
        for method in ("f", "g"):
            with Spawned(source) as router:
                router.result(method)
                self.assertEqual(router.wait(), 0)
                router.printed.expect("at exit")
                router.complained.expect("ValueError: no")
