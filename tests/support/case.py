"""The base of the tests that need a daemon."""

from __future__ import annotations

import time
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, ClassVar, Optional

from .connection import Connection
from .daemon import Daemon, Places


class DaemonTest(unittest.TestCase):
    """One daemon for all tests of a class, and connections that are closed at each test's end.

    `controller` is a file's name in tests/controllers, `config` the text of its config file. With `own_daemon`, each
    test starts those that it needs.
    """

    controller: ClassVar[Optional[str]] = None
    flags: ClassVar[tuple[str, ...]] = ()
    config: ClassVar[Optional[str]] = None
    own_daemon: ClassVar[bool] = False
    daemon: ClassVar[Daemon]
    maxDiff = 4000

    @classmethod
    def setUpClass(cls) -> None:
        if not cls.own_daemon:
            cls.daemon = Daemon(cls.controller, *cls.flags, config=cls.config)
            cls.addClassCleanup(cls.daemon.close)

    def start(self, controller: Any = None, *flags: str, **options: Any) -> Daemon:
        """A daemon of this test's own."""
        daemon = Daemon(controller, *flags, **options)
        self.addCleanup(daemon.close)
        return daemon

    def places(self) -> Places:
        places = Places()
        self.addCleanup(places.remove)
        return places

    def connect(self, daemon: Optional[Daemon] = None, seconds: float = 30.0) -> Connection:
        connection = Connection((daemon or self.daemon).path, seconds)
        self.addCleanup(connection.close)
        return connection

    def as_systemd(self) -> None:
        """Has this process taken for systemd, whose sockets are told by the name of who holds them."""
        comm = Path("/proc/self/comm")
        before = comm.read_text()
        comm.write_text("systemd")
        self.addCleanup(comm.write_text, before)

    def until(self, comes_true: Callable[[], Any], seconds: float = 30.0) -> None:
        """Asks again and again, of what tells of no event, until it is so."""
        deadline = time.monotonic() + seconds
        while not comes_true():
            self.assertLess(time.monotonic(), deadline, f"it has not come true within {seconds} s")

    def tries(self, most: int = 30) -> Iterator[int]:
        """Counts tries of what a machine that is held up may spoil; more often than so many, it is not the machine."""
        yield from range(most)
        self.fail(f"not once in {most} tries")

    def assertError(self, error: dict[str, Any], code: int, **data: Any) -> None:
        """That an error has this code, and these members among its data."""
        self.assertEqual(error["code"], code, error)
        self.assertIsInstance(error["message"], str)
        self.assertTrue(error["message"], error)
        given = error.get("data") or {}
        self.assertEqual({name: given.get(name) for name in data}, data, error)
