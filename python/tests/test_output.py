"""What is printed bears the tag of the call that printed it, and nothing else about it is changed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import unittest
from typing import Any, ClassVar, NamedTuple, Optional

from .support import FIXTURES, INDEX, TAG, Spawned


class Line(NamedTuple):
    ident: Optional[int]
    method: Optional[str]
    text: str


def lines_of(text: str) -> list[Line]:
    """As the daemon reads them: a tag holds to the end of the line, or to the next one of another call."""
    lines: list[Line] = []
    for line in text.splitlines(keepends=True) if "\r" not in text else re.findall("[^\n]*\n|[^\n]+", text):
        parts = TAG.split(line.rstrip("\n"))
        found = [Line(None, None, parts[0])]
        for ident, method, said in zip(parts[1::3], parts[2::3], parts[3::3]):
            if found[-1].ident == int(ident):
                found[-1] = found[-1]._replace(text=found[-1].text + said)
            else:
                found.append(Line(int(ident), method, said))
        if len(found) > 1 and not found[0].text:
            del found[0]
        lines += found
    return lines


class OutputTest(unittest.TestCase):
    environment: ClassVar[dict[str, str]] = {"PYTHONUNBUFFERED": ""}

    def router(self, controller: Any = FIXTURES / "says.py", **options: Any) -> Spawned:
        router = Spawned(controller, environment=self.environment, **options)
        self.addCleanup(router.close)
        return router

    def printed(self, router: Spawned, last: str) -> list[Line]:
        router.printed.expect(last)
        return lines_of(router.printed.text)

    def texts(self, lines: list[Line], ident: Optional[int]) -> list[str]:
        return [line.text for line in lines if line.ident == ident]


class TestOutput(OutputTest):
    def test_what_no_call_prints_has_no_tag(self) -> None:
        router = self.router()
        router.printed.expect("on_start\n")
        router.complained.expect("on_start, err\n")
        self.assertEqual(router.printed.text, "says.py: imported\non_start\n")
        self.assertEqual(router.complained.text, "on_start, err\n")

    def test_each_line_of_a_plain_call(self) -> None:
        router = self.router()
        for number in range(40):  # Quick ones and careful ones.
            ident = router.call("lines", [f"a {number}", f"b {number}", ""])
            self.assertEqual(router.answer(ident)["result"], 3)
            lines = self.printed(router, f"b {number}\n")
            self.assertIn((ident, "lines", f"a {number}"), lines)
            self.assertIn((ident, "lines", f"b {number}"), lines)
        ident = router.call("both", ["é"])
        router.answer(ident)
        self.assertIn((ident, "both", "out é"), self.printed(router, "out é\n"))
        router.complained.expect("err é\n")
        self.assertIn((ident, "both", "err é"), lines_of(router.complained.text))

    def test_one_print_of_several_lines(self) -> None:
        router = self.router()
        ident = router.call("several")
        router.answer(ident)
        lines = self.printed(router, "fourth\n")
        self.assertEqual(self.texts(lines, ident), ["first", "second", "", "fourth"])

    def test_logging_warnings_and_tracebacks(self) -> None:
        router = self.router()
        ident = router.call("as_python_does")
        router.answer(ident)
        router.complained.expect("ValueError: by traceback\n")
        lines = lines_of(router.complained.text)
        self.assertEqual(self.texts(lines, None), ["on_start, err"])
        text = "\n".join(self.texts(lines, ident))
        for wanted in ("by logging", "UserWarning: by warnings", "Traceback (most", "ValueError: by traceback"):
            self.assertIn(wanted, text)

    def test_what_the_ways_to_write_give(self) -> None:
        router = self.router()
        ident = router.call("written")
        self.assertEqual(router.answer(ident)["result"], [5, 2, 6, 5, 0])
        lines = self.printed(router, "two\n")
        self.assertEqual(self.texts(lines, ident), ["text", "é", "bytes", "view", "one", "two"])

    def test_the_streams_are_what_they_were(self) -> None:
        about = self.router().result("about")
        self.assertEqual(about["fileno"], [1, 2, 1])
        self.assertIs(about["isatty"], False)
        self.assertEqual(about["encoding"], ["utf-8", "utf-8"])
        self.assertEqual(about["errors"], ["backslashreplace", "backslashreplace"])
        self.assertEqual(about["name"], ["<stdout>", "<stderr>"])
        self.assertEqual(about["mode"], "w")
        self.assertEqual(about["line_buffering"], [True, True])
        self.assertEqual(about["writable"], [True, False, False, False])
        for what in ("is_text", "is_buffer", "is_raw", "is_the_first"):
            self.assertIs(about[what], True, what)

    def test_streams_that_are_set_otherwise(self) -> None:
        router = self.router()
        idents = [router.call("reconfigured"), router.call("wrapped_anew")]
        for ident in idents:
            router.answer(ident)
        lines = self.printed(router, "wrapped anew\n")
        self.assertEqual(self.texts(lines, idents[0]), ["caf\ufffd ?", "café €"])
        self.assertEqual(self.texts(lines, idents[1]), ["wrapped anew"])

    def test_lines_in_pieces(self) -> None:
        router = self.router()
        first, second = router.call("pieces", ["a", "b", "c"]), router.call("pieces", ["d", "e\n"])
        bar = router.call("bar")
        for ident in (first, second, bar):
            router.answer(ident)
        lines = self.printed(router, "e\n")
        self.assertEqual((self.texts(lines, first), self.texts(lines, second)), (["abc"], ["de"]))
        router.complained.expect("100 %\n")
        self.assertEqual(self.texts(lines_of(router.complained.text), bar), ["\r  0 %\r 50 %\r100 %"])

    def test_a_line_of_any_length(self) -> None:
        router = self.router()
        ident = router.call("long", [1 << 20])
        self.assertEqual(router.answer(ident)["result"], 1 << 20)
        lines = self.printed(router, "x\n")
        self.assertEqual(self.texts(lines, ident), ["x" * (1 << 20)])

    def test_a_call_that_sends_is_the_same_call(self) -> None:
        router = self.router()
        ident = router.call("sends_first", ["it"])
        self.assertEqual(router.items(ident)[0], [1])
        self.assertEqual(self.texts(self.printed(router, "after it\n"), ident), ["before it", "after it"])


class TestUnbuffered(TestOutput):
    """By `python -u`, or as many containers set it."""

    environment: ClassVar[dict[str, str]] = {"PYTHONUNBUFFERED": "1"}

    def test_the_streams_are_what_they_were(self) -> None:
        about = self.router().result("about")
        self.assertEqual((about["fileno"], about["line_buffering"]), ([1, 2, 1], [True, True]))


class TestBeside(OutputTest):
    def test_generators_in_turns(self) -> None:
        router = self.router()
        idents = {name: router.call("counts", [name]) for name in "ab"}
        self.ended(router, idents)
        self.hold_together(router, idents)

    def test_tasks_and_what_they_start(self) -> None:
        router = self.router()
        idents = {name: router.call("later", [name]) for name in "ab"}
        self.ended(router, idents)
        self.hold_together(router, idents)
        router.printed.expect("a in a thread with its context\n")
        lines = self.printed(router, "b in a thread with its context\n")
        self.assertIn("a in a task of its own", self.texts(lines, idents["a"]))
        self.assertIn("a in a thread with its context", self.texts(lines, idents["a"]))

    def test_async_generators(self) -> None:
        router = self.router()
        idents = {name: router.call("streams", [name]) for name in "ab"}
        self.ended(router, idents)
        self.hold_together(router, idents)

    def test_threads_of_concurrent_methods(self) -> None:
        router = self.router()
        idents = {name: router.call("beside", [name, 200]) for name in "abcd"}
        self.ended(router, idents)
        self.hold_together(router, idents, 200)

    def ended(self, router: Spawned, idents: dict[str, int]) -> None:
        """Reads until all of them have been answered."""
        waited = set(idents.values())
        while waited:
            message = router.read()
            self.assertNotIn("error", message)
            if "result" in message:
                waited.remove(message["id"])

    def hold_together(self, router: Spawned, idents: dict[str, int], n: int = 3) -> None:
        lines = [self.printed(router, f"{name} {n - 1}\n") for name in idents][-1]
        for name, ident in idents.items():
            self.assertEqual(self.texts(lines, ident)[:n], [f"{name} {number}" for number in range(n)])

    def test_a_thread_of_its_own_is_a_calls_if_it_has_its_context(self) -> None:
        router = self.router()
        plain = router.call("threads")
        router.answer(plain)
        self.assertIn("a thread of nobody's", self.texts(self.printed(router, "a plain call's\n"), None))
        beside = router.call("threads_beside")
        router.answer(beside)
        lines = self.printed(router, "the call's context\n")
        self.assertEqual(self.texts(lines, beside), ["a thread with the call's context"])
        self.assertEqual(self.texts(lines, None).count("a thread of nobody's"), 2)


class TestOthers(OutputTest):
    def test_children(self) -> None:
        router = self.router()
        forks, processes = router.call("forks"), router.call("processes")
        router.answer(forks)
        router.answer(processes)
        lines = self.printed(router, "a child by spawn\n")
        self.assertEqual(self.texts(lines, forks), ["in the child", "in the parent"])
        self.assertEqual(self.texts(lines, processes), ["a child by fork"])
        self.assertIn("a child by spawn", self.texts(lines, None))

    def test_order_among_what_others_print(self) -> None:
        router = self.router()
        ident = router.call("in_turns")
        router.answer(ident)
        lines = self.printed(router, "last\n")[-12:]
        wanted = [line for number in range(5) for line in (f"print {number}", f"write {number}")]
        self.assertEqual([line.text for line in lines], [*wanted, "a program", "last"])
        of_it = [*[f"print {number}" for number in range(5)], "last"]
        self.assertEqual(self.texts(lines, ident), of_it)

    def test_faulthandler(self) -> None:
        router = self.router()
        self.assertIsNone(router.result("faults"))
        router.complained.expect("says.py")

    def test_who_replaces_stdout_has_it_for_himself(self) -> None:
        router = self.router()
        ident = router.call("redirected")
        self.assertEqual(router.answer(ident)["result"], "for itself\n")
        self.assertEqual(self.texts(self.printed(router, "for all\n"), ident), ["for all"])

    def test_a_signal_handler_may_print_at_any_moment(self) -> None:
        router = self.router()
        count = 20_000
        ident = router.call("alarms", [count])
        answer = router.answer(ident)
        self.assertIn("result", answer)
        alarms = answer["result"]
        self.assertGreater(alarms, 0)
        texts = self.texts(self.printed(router, f"line {count - 1}\n"), ident)
        self.assertEqual([text for text in texts if text != "alarm"], [f"line {number}" for number in range(count)])
        self.assertEqual(texts.count("alarm"), alarms)

    def test_what_is_collected_may_print_at_any_moment(self) -> None:
        router = self.router()
        count = 5_000
        ident = router.call("garbage", [count])
        router.answer(ident)
        texts = self.texts(self.printed(router, f"line {count - 1}\n"), ident)
        self.assertEqual([text for text in texts if text != "collected"], [f"line {number}" for number in range(count)])
        if sys.version_info >= (3, 12):  # Before that, Python collects even while the buffer is locked.
            self.assertGreater(texts.count("collected"), count // 2)
            self.assertNotIn("reentrant", router.complained.text)

    def test_one_that_prints_all_the_time_is_cancelled(self) -> None:
        router = self.router()
        for _ in range(10):
            ident = router.call("floods")
            router.printed.expect(f";{ident};floods")
            began = time.monotonic()
            router.cancel(ident)
            self.assertEqual(router.answer(ident)["error"]["code"], -32024)
            self.assertLess(time.monotonic() - began, 5)
            self.assertEqual(router.result("lines", ["still there"]), 1)

    def test_alone_there_are_no_tags(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "BASKD_FDS"}
        message = b'{"method":"both","params":{"text":"alone"}}\n'
        ran = subprocess.run(
            [sys.executable, INDEX, FIXTURES / "says.py"],
            input=message,
            capture_output=True,
            env=environment,
            check=True,
        )
        self.assertIn(b"out alone\n", ran.stderr)
        self.assertNotIn(b"\x1b", ran.stderr + ran.stdout)
