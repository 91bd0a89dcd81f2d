"""stream.call and messages: partial results, in order, once, and no more than were asked for."""

from __future__ import annotations

from typing import Any, Optional

from support.case import DaemonTest
from support.connection import Connection


class Streams(DaemonTest):
    controller = "lab.py"

    def open(self, connection: Connection, method: str, params: Any = None, **options: Any) -> int:
        subscription: int = connection.call("stream.call", {"method": method, "params": params or [], **options})
        return subscription

    def read_to_end(self, connection: Connection, subscription: int) -> tuple[list[Any], dict[str, Any]]:
        """The items of a stream, and its last event; checks that it is closed once after it."""
        items = []
        while "item" in (event := connection.event(subscription)["result"]):
            items.append(event["item"])
        self.assertEqual(connection.event(subscription)["error"], {"code": 0, "message": "closed"})
        return items, event

    def test_the_acknowledgement_comes_first_and_the_end_once(self) -> None:
        for method in ("items", "sent"):
            connection = self.connect()
            connection.request("stream.call", {"method": method, "params": {"n": 3}}, id="s")
            messages = connection.rest()
            subscription = messages[0]["result"]
            self.assertEqual(messages[0], {"jsonrpc": "2.0", "id": "s", "result": subscription})
            self.assertEqual({message["method"] for message in messages[1:]}, {"stream.item"})
            self.assertEqual(
                [message["params"] for message in messages[1:]],
                [{"subscription": subscription, "result": {"item": i}} for i in range(3)]
                + [{"subscription": subscription, "result": {"end": 3}}]
                + [{"subscription": subscription, "error": {"code": 0, "message": "closed"}}],
            )

    def test_an_error_is_the_last_event(self) -> None:
        connection = self.connect()
        items, last = self.read_to_end(connection, self.open(connection, "failing", [2]))
        self.assertEqual(items, [0, 1])
        self.assertError(last["error"], -32020, type="ValueError", message="that was enough")

    def test_a_plain_method_may_be_streamed(self) -> None:
        connection = self.connect()
        self.assertEqual(self.read_to_end(connection, self.open(connection, "add", [1, 2])), ([], {"end": 3}))

    def test_cancel_ends_the_stream_with_one_last_event(self) -> None:
        connection = self.connect()
        subscription = self.open(connection, "endless")
        self.assertEqual(connection.event(subscription)["result"], {"item": 0})
        self.assertIs(connection.call("stream.cancel", [subscription]), True)
        items, last = self.read_to_end(connection, subscription)
        self.assertEqual(items, list(range(1, len(items) + 1)))
        self.assertError(last["error"], -32024, by="client")
        self.assertIs(connection.call("stream.cancel", [subscription]), False)
        self.assertIn(["endless", "cancelled"], connection.call("howEnded"))
        self.assertEqual([message for message in connection.rest() if "method" in message], [])

    def test_a_window_lets_so_many_items_through(self) -> None:
        connection = self.connect()
        subscription = self.open(connection, "items", [10], window=2)
        self.assertEqual([connection.event(subscription)["result"]["item"] for _ in range(2)], [0, 1])
        # The generator is parked: others are served, and nothing has come of it when they have been.
        self.assertEqual([connection.call("add", [n, 0]) for n in range(5)], list(range(5)))
        self.assertEqual(connection.kept, [])
        connection.notify("stream.more", [subscription, 3])
        self.assertEqual([connection.event(subscription)["result"]["item"] for _ in range(3)], [2, 3, 4])
        self.assertEqual([connection.call("add", [n, 0]) for n in range(5)], list(range(5)))
        self.assertEqual(connection.kept, [])
        connection.notify("stream.more", {"id": subscription, "n": 100})
        items, last = self.read_to_end(connection, subscription)
        self.assertEqual((items, last), ([5, 6, 7, 8, 9], {"end": 10}))

    def test_a_parked_generator_is_cancelled(self) -> None:
        connection = self.connect()
        subscription = self.open(connection, "endless", window=1)
        connection.event(subscription)
        self.assertIs(connection.call("stream.cancel", {"id": subscription}), True)
        items, last = self.read_to_end(connection, subscription)
        self.assertError(last["error"], -32024, by="client")
        self.assertEqual(items, [])

    def test_a_reader_that_waits_pauses_the_generator_and_nobody_else(self) -> None:
        connection, other = self.connect(seconds=60), self.connect()
        count, size = 2_000, 10_000
        subscription = self.open(connection, "items", {"n": count, "size": size})
        # 20 MB, far more than sockets and windows hold, and nobody reads them: others go on being served.
        self.assertEqual([other.call("add", [n, 0]) for n in range(200)], list(range(200)))
        running = other.call("daemon.status")["workers"][0]["running"]
        self.assertEqual([call["method"] for call in running], ["items"])
        items, last = self.read_to_end(connection, subscription)
        self.assertEqual([item["i"] for item in items], list(range(count)))
        self.assertEqual(last, {"end": count})

    def test_many_streams_at_once_do_not_mix(self) -> None:
        connection = self.connect()
        subscriptions = [self.open(connection, "items", [50 + n]) for n in range(20)]
        self.assertEqual(len(set(subscriptions)), 20)
        for n, subscription in enumerate(subscriptions):
            self.assertEqual(self.read_to_end(connection, subscription), (list(range(50 + n)), {"end": 50 + n}))

    def test_what_is_no_stream(self) -> None:
        connection = self.connect()
        error = connection.error("stream.call", {"method": "itemz"})
        self.assertError(error, -32601)
        self.assertEqual(error["data"]["nearest"][0], "items")
        self.assertError(connection.error("stream.call", {"method": "items", "window": 0}), -32602, parameter="window")
        self.assertError(connection.error("stream.call"), -32602, parameter="method")
        # Nobody could be told the subscription of a notification, so nothing is begun.
        before = connection.call("daemon.status")["calls"]
        connection.notify("stream.call", {"method": "count"})
        self.assertEqual(connection.call("daemon.status")["calls"], before)

    def test_params_that_do_not_fit_end_a_stream_or_refuse_it(self) -> None:
        connection = self.connect()
        answer = connection.answer(connection.request("stream.call", {"method": "items", "params": {"nn": 1}}))
        if "error" in answer:
            error = answer["error"]
        else:
            items, last = self.read_to_end(connection, answer["result"])
            self.assertEqual(items, [])
            error = last["error"]
        self.assertError(error, -32602)

    def test_too_many_subscriptions(self) -> None:
        connection = self.connect()
        limit = 1024
        for number in range(limit):
            connection.request("stream.call", {"method": "endless", "window": 1}, id=number)
        ids = {connection.result(number) for number in range(limit)}
        self.assertEqual(len(ids), limit)
        self.assertError(connection.error("messages.subscribe", ["own"]), -32006, limit=limit)
        self.assertError(connection.error("stream.call", {"method": "items", "params": [1]}), -32006, limit=limit)
        self.assertIs(connection.call("stream.cancel", [ids.pop()]), True)
        self.open(connection, "items", [0])


class Messages(DaemonTest):
    controller = "lab.py"

    def subscribe(self, connection: Connection, scope: str, method: Optional[str] = None) -> int:
        subscription: int = connection.call("messages.subscribe", [scope] if method is None else [scope, method])
        return subscription

    def test_own_messages_come_before_their_answer(self) -> None:
        for method in ("sent", "items"):
            connection = self.connect()
            subscription = self.subscribe(connection, "own")
            connection.request(method, [3], id="mine")
            *messages, answer = [connection.read() for _ in range(4)]
            self.assertEqual(answer["result"], 3)
            results = [message["params"]["result"] for message in messages]
            self.assertEqual({message["params"]["subscription"] for message in messages}, {subscription})
            self.assertEqual({message["method"] for message in messages}, {"messages.item"})
            self.assertEqual([result["data"] for result in results], [0, 1, 2])
            self.assertEqual({(result["request"], result["method"]) for result in results}, {("mine", method)})
            self.assertEqual(len({result["call"] for result in results}), 1)

    def test_without_a_subscription_there_is_only_the_answer(self) -> None:
        connection = self.connect()
        connection.request("sent", [3], id=1)
        self.assertEqual(connection.rest(), [{"jsonrpc": "2.0", "id": 1, "result": 3}])

    def test_own_is_this_connections_and_no_streams(self) -> None:
        connection, other = self.connect(), self.connect()
        self.subscribe(connection, "own")
        other.call("sent", [3])
        stream = connection.call("stream.call", {"method": "sent", "params": [1]})
        self.assertEqual(connection.event(stream)["result"], {"item": 0})
        connection.call("add", [1])
        self.assertEqual([message for message in connection.kept if message["method"] == "messages.item"], [])

    def test_all_are_everyones_streams_too(self) -> None:
        connection, other = self.connect(), self.connect()
        subscription = self.subscribe(connection, "all")
        other.call("sent", [2])
        other.call("stream.call", {"method": "items", "params": [1]})
        events = [connection.event(subscription)["result"] for _ in range(3)]
        self.assertEqual(
            [(event["method"], event["data"]) for event in events], [("sent", 0), ("sent", 1), ("items", 0)]
        )
        self.assertNotIn("request", events[0])
        self.assertNotEqual(events[0]["call"], events[2]["call"])

    def test_a_method_filters(self) -> None:
        for scope in ("own", "all"):
            connection = self.connect()
            subscription = self.subscribe(connection, scope, "items")
            connection.call("sent", [2])
            connection.call("items", [1])
            self.assertEqual(connection.event(subscription)["result"]["method"], "items")
            connection.call("add", [1])
            self.assertEqual(connection.kept, [])

    def test_a_notifications_messages_bear_no_id(self) -> None:
        connection = self.connect()
        subscription = self.subscribe(connection, "own")
        connection.notify("sent", [1])
        self.assertIsNone(connection.event(subscription)["result"]["request"])

    def test_unsubscribe(self) -> None:
        connection = self.connect()
        subscription = self.subscribe(connection, "own")
        self.assertIs(connection.call("messages.unsubscribe", [subscription]), True)
        self.assertIs(connection.call("messages.unsubscribe", [subscription]), False)
        connection.call("sent", [2])
        self.assertEqual(connection.kept, [])

    def test_a_wrong_scope(self) -> None:
        connection = self.connect()
        self.assertError(connection.error("messages.subscribe", ["mine"]), -32602, parameter="scope", got="mine")
        self.assertError(connection.error("messages.subscribe"), -32602, parameter="scope")

    def test_who_reads_slowly_loses_the_oldest_and_is_told(self) -> None:
        slow, other = self.connect(seconds=60), self.connect(seconds=60)
        subscription = self.subscribe(slow, "all")
        count = 20_000
        self.assertEqual(other.call("sent", {"n": count, "size": 1000}), count)
        # Something must be there to be lost: 20 MB are more than a socket and the daemon keep for one reader.
        seen, dropped, expected = 0, 0, 0
        while expected < count:
            event = slow.event(subscription)["result"]
            if "dropped" in event:
                dropped += event["dropped"]
                expected += event["dropped"]
                continue
            self.assertEqual(event["data"]["i"], expected)
            expected += 1
            seen += 1
        self.assertEqual(seen + dropped, count)
        self.assertGreater(dropped, 0)


class Logs(DaemonTest):
    controller = "lab.py"

    def test_lines_of_both_streams_and_of_children_are_told(self) -> None:
        connection = self.connect()
        subscription = connection.call("logs.subscribe")
        self.assertEqual(connection.call("speak", ["spoken"]), "spoken")
        wanted = {
            ("stdout", "spoken print stdout"),
            ("stderr", "spoken print stderr"),
            ("stdout", "spoken write stdout"),
            ("stderr", "spoken write stderr"),
            ("stdout", "spoken child 1"),
            ("stderr", "spoken child 2"),
        }
        while wanted:
            line = connection.event(subscription)["result"]
            self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
            self.assertEqual(line["level"], "info")
            wanted.discard((line["stream"], line["line"]))
        self.assertIs(connection.call("logs.unsubscribe", [subscription]), True)
