from __future__ import annotations

import json
import pickle
import sys
import unittest

import baskd
from baskd import _errors
from baskd._options import Request, arguments
from baskd._sinks import StreamSink, message_feed
from baskd._wire import Session


def line(**message: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


class Requests(unittest.TestCase):
    def test_a_request_is_one_line_with_its_id_first(self) -> None:
        _, data = Session().request("increment", {"by": 5})
        self.assertEqual(data, b'{"jsonrpc":"2.0","id":1,"method":"increment","params":{"by":5}}\n')

    def test_absent_params_are_left_out(self) -> None:
        self.assertEqual(Session().request("reset")[1], b'{"jsonrpc":"2.0","id":1,"method":"reset"}\n')

    def test_text_goes_as_utf8_and_half_a_surrogate_pair_as_an_escape(self) -> None:
        self.assertIn("é☃".encode(), Session().request("m", ["é☃\n"])[1])
        self.assertEqual(Session().request("m", ["\ud800"])[1].count(b"\n"), 1)

    def test_what_is_no_json_is_refused_before_it_takes_an_id(self) -> None:
        session = Session()
        for params in ([float("nan")], [object()], [b""]):
            with self.assertRaises((TypeError, ValueError)):
                session.request("m", params)
        self.assertEqual(session.request("m")[0].id, 1)

    def test_a_timeout_makes_it_an_rpc_call(self) -> None:
        self.assertEqual(Request("m", None, None).for_the_wire(), ("m", None))
        options = {"method": "m", "params": [1], "timeout_ms": 1}
        self.assertEqual(Request("m", [1], 0.0001).for_the_wire(), ("rpc.call", options))
        for timeout in (-1, float("inf"), float("nan")):
            with self.assertRaises(baskd.UsageError):
                Request("m", None, timeout)

    def test_arguments_are_an_array_or_an_object(self) -> None:
        self.assertEqual(arguments("m", (1, 2), {}), [1, 2])
        self.assertEqual(arguments("m", (), {"by": 5}), {"by": 5})
        self.assertIsNone(arguments("m", (), {}))
        with self.assertRaises(TypeError):
            arguments("m", (1,), {"by": 5})


class Replies(unittest.TestCase):
    def test_bytes_may_come_in_any_pieces(self) -> None:
        whole = line(id=1, result="a" * 50) + line(id=2, result="é")
        for size in (1, 2, 7, len(whole)):
            session = Session()
            first, second = session.request("m")[0], session.request("m")[0]
            for start in range(0, len(whole), size):
                session.feed(whole[start : start + size])
            self.assertEqual((first.outcome(), second.outcome()), ("a" * 50, "é"))
            self.assertFalse(session.amid_line)

    def test_answers_in_any_order_wake_only_their_own(self) -> None:
        session = Session()
        pendings = [session.request("m")[0] for _ in range(3)]
        woken: list[int] = []
        for pending in pendings:
            pending.wakers.append(lambda id=pending.id: woken.append(id))  # type: ignore[misc]
        session.feed(line(id=3, result=3) + line(id=1, result=1))
        self.assertEqual(woken, [3, 1])
        self.assertFalse(pendings[1].done)

    def test_an_unknown_id_is_ignored_and_an_error_for_nobody_ends_the_connection(self) -> None:
        session = Session()
        session.feed(line(id=99, result=1))
        with self.assertRaises(baskd.Forbidden) as caught:
            session.feed(line(id=None, error={"code": -32027, "message": "no", "data": {"uid": 7}}))
        self.assertEqual(caught.exception.uid, 7)

    def test_what_is_no_jsonrpc_ends_the_connection(self) -> None:
        for data in (b"hello\n", b"[]\n", b"\xff\n"):
            with self.assertRaises(baskd.Disconnected):
                Session().feed(data)

    def test_an_answer_beyond_this_python_is_one_calls_matter(self) -> None:
        depth = 1_000_000
        session = Session()
        deep, fine = session.request("deep")[0], session.request("fine")[0]
        session.feed(b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * depth + b"]" * depth + b"}\n" + line(id=2, result=1))
        with self.assertRaisesRegex(baskd.BaskdError, "deep can't be read here"):
            deep.outcome()
        self.assertEqual(fine.outcome(), 1)

    def test_an_acknowledgement_and_its_first_items_may_come_at_once(self) -> None:
        session, sink = Session(), StreamSink(4)
        session.request("stream.call", {}, sink)
        item = line(method="stream.item", params={"subscription": 5, "result": {"item": 1}})
        end = line(method="stream.item", params={"subscription": 5, "result": {"end": None}})
        closed = line(method="stream.item", params={"subscription": 5, "error": {"code": 0, "message": "closed"}})
        session.feed(line(id=1, result=5) + item + end + closed)
        self.assertEqual((list(sink.items), sink.ended), ([1], True))

    def test_a_stream_given_up_before_its_acknowledgement_is_cancelled_by_it(self) -> None:
        session, sink = Session(), StreamSink(4)
        pending, _ = session.request("stream.call", {}, sink)
        self.assertIsNone(session.cancellation(pending))
        session.feed(line(id=1, result=5))
        self.assertEqual(json.loads(session.outgoing[0])["method"], "stream.cancel")

    def test_only_what_had_not_left_is_unsent(self) -> None:
        session = Session()
        (left, first), (half, second) = session.request("a"), session.request("b")
        kept, _ = session.request("c")
        half.start, kept.start = len(first), len(first) + len(second)
        session.lose(baskd.Disconnected("gone"), sent=len(first) + 1)
        self.assertEqual([left.unsent, half.unsent, kept.unsent], [False, False, True])

    def test_a_window_is_granted_again_by_halves(self) -> None:
        sink = StreamSink(4)
        self.assertEqual([sink.grant() for _ in range(4)], [0, 2, 0, 2])
        sink = StreamSink(1)
        self.assertEqual([sink.grant() for _ in range(2)], [1, 1])

    def test_everyones_messages_drop_the_oldest_and_say_so(self) -> None:
        sink = message_feed("all", None)
        for number in range(65_536 + 10):
            sink.push({"call": 1, "method": "m", "data": number})
        self.assertEqual(sink.items[0].dropped, sink.items[1].data)  # just as many as are missing before it
        self.assertEqual(sink.items[-1].data, 65_536 + 9)
        self.assertLessEqual(len(sink.items), 65_537)

    def test_own_messages_that_nobody_takes_end_in_an_error(self) -> None:
        session, sink = Session(), message_feed("own", None)
        session.request(*sink.request, sink=sink)
        session.feed(line(id=1, result=5))
        for number in range(65_536 + 10):
            message = {"call": 1, "request": 9, "method": "m", "data": number}
            session.feed(line(method="messages.item", params={"subscription": 5, "result": message}))
        self.assertEqual([message.data for message in sink.items], list(range(65_536)))
        self.assertIsInstance(sink.error, baskd.Lagged)
        [ended] = [json.loads(told) for told in session.outgoing]
        self.assertEqual((ended["method"], ended["params"]), ("messages.unsubscribe", [5]))


class Errors(unittest.TestCase):
    def test_each_code_has_a_class_and_keeps_its_code_and_data(self) -> None:
        codes = (-32700, *range(-32603, -32599), *range(-32011, -32005), *range(-32028, -32019))
        for code in codes:
            error = _errors.from_wire({"code": code, "message": "m", "data": {"x": 1}})
            self.assertIsNot(type(error), baskd.BaskdError, code)
            again = pickle.loads(pickle.dumps(error))
            self.assertEqual((type(again), str(again), again.code, again.data), (type(error), "m", code, {"x": 1}))
        self.assertEqual(sorted(codes), sorted(_errors.BY_CODE))

    def test_an_unknown_code_is_a_plain_error(self) -> None:
        error = _errors.from_wire({"code": 42, "message": "m"})
        self.assertEqual((type(error), error.code, error.data), (baskd.BaskdError, 42, None))

    def test_they_are_the_builtin_ones_too(self) -> None:
        self.assertTrue(issubclass(baskd.TimedOut, TimeoutError))
        self.assertTrue(issubclass(baskd.NotRunning, ConnectionError))

    def test_a_method_error_shows_the_controllers_traceback(self) -> None:
        error = _errors.from_wire({"code": -32020, "message": "m", "data": {"type": "E", "traceback": "Traceback…\n"}})
        assert isinstance(error, baskd.MethodError)
        self.assertEqual((error.type, error.traceback), ("E", "Traceback…\n"))
        if sys.version_info >= (3, 11):
            self.assertIn("Traceback…", error.__notes__[0])


if __name__ == "__main__":
    unittest.main()
