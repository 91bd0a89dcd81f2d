"""A controller that prints, in every way there is: nothing breaks, and every line is in the log."""

from __future__ import annotations

from support.case import DaemonTest


class Prints(DaemonTest):
    controller = "prints.py"

    def test_what_is_printed_at_import(self) -> None:
        self.daemon.wait_for_log("prints.py: imported")

    def test_from_python_from_c_and_from_children(self) -> None:
        connection = self.connect()
        for method in ("python", "descriptors", "child", "c"):
            self.assertEqual(connection.call(method, [f"by {method}"]), f"by {method}")
            self.daemon.wait_for_log(f'out by {method} .*stream="stdout"')
            if method != "c":
                self.daemon.wait_for_log(f'err by {method} .*stream="stderr"')

    def test_what_looks_like_an_answer_is_none(self) -> None:
        connection = self.connect()
        connection.call("messages.subscribe", ["own"])
        for number in range(20):
            self.assertEqual(connection.call("fake"), "true one", number)
        self.assertEqual(connection.kept, [])
        self.daemon.wait_for_log("forged")

    def test_stdin_is_empty(self) -> None:
        self.assertEqual(self.connect().call("reads"), ["", ""])

    def test_what_is_no_text_and_what_has_no_end(self) -> None:
        connection = self.connect()
        self.assertIs(connection.call("unicode"), True)
        self.daemon.wait_for_log("surrogate")
        self.assertIs(connection.call("unended"), True)
        connection.call("python", ["after"])
        self.daemon.wait_for_log("no end of lineout after|no end of line")

    def test_more_than_a_pipe_holds(self) -> None:
        connection = self.connect(seconds=120)
        count = 20_000
        self.assertEqual(connection.call("flood", [count]), count)
        self.daemon.wait_for_log(f"flood {count - 1} ", seconds=60)


class LogsOfAllCalls(DaemonTest):
    controller = "lab.py"

    def test_values_are_not_logged(self) -> None:
        connection = self.connect()
        connection.call("echo", ["a secret value"])
        connection.error("fail", ["a secret message"])
        connection.error("add", {"a": "a secret parameter"})
        connection.call("setProperty", ["model", "a secret property"])
        connection.call("speak", ["done"])
        self.daemon.wait_for_log("done child 2")
        self.assertNotIn("a secret", "\n".join(self.daemon.log))
