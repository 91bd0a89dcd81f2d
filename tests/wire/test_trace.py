"""A trace context on its way from a client to the controller."""

from __future__ import annotations

import json
from typing import Any, Optional

from support.case import DaemonTest
from support.connection import Connection
from support.framings import WebSocketConnection

from .test_http import post, read_answers

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
STATE = 'rojo=00f067aa0ba902b7,congo="t\\61"'
NONE = [None, None]


class Traces(DaemonTest):
    controller = "traced.py"

    def call(self, connection: Connection, method: str = "plain", **options: Any) -> Any:
        return connection.call("rpc.call", {"method": method, **options})

    def test_a_call_brings_it_and_the_next_does_not_have_it(self) -> None:
        connection = self.connect()
        self.assertEqual(connection.call("plain"), NONE)
        self.assertEqual(self.call(connection, traceparent=PARENT, tracestate=STATE), [PARENT, STATE])
        self.assertEqual(connection.call("plain"), NONE)
        self.assertEqual(self.call(connection, traceparent=PARENT), [PARENT, None])
        self.assertEqual(self.call(connection), NONE)
        self.assertEqual(connection.call("rpc.call", ["plain", None, None, OTHER, STATE]), [OTHER, STATE])
        # Without a traceparent, a tracestate says nothing.
        self.assertEqual(self.call(connection, tracestate=STATE), NONE)
        self.assertEqual(self.call(connection, traceparent=None, tracestate=None), NONE)
        future = "cc" + PARENT[2:] + "-what-is-to-come"
        self.assertEqual(self.call(connection, traceparent=future), [future, None])

    def test_a_stream_has_it_at_every_step(self) -> None:
        connection = self.connect()
        subscription = connection.call(
            "stream.call", {"method": "steps", "params": [2], "traceparent": PARENT, "tracestate": STATE}
        )
        told = [connection.event(subscription)["result"] for _ in range(3)]
        self.assertEqual(told, [{"item": [PARENT, STATE]}] * 2 + [{"end": [PARENT, STATE]}])
        connection.event(subscription)  # its close
        subscription = connection.call("stream.call", ["steps", [1], None, 5, OTHER])
        self.assertEqual(connection.event(subscription)["result"], {"item": [OTHER, None]})

    def test_one_that_is_malformed_is_refused(self) -> None:
        connection = self.connect()
        for name, wrong in (
            ("traceparent", PARENT.upper()),
            ("traceparent", "ff" + PARENT[2:]),
            ("traceparent", PARENT + "-00"),
            ("traceparent", 5),
            ("traceparent", ""),
            ("tracestate", "a=é"),
            ("tracestate", "a" * 513),
            ("tracestate", ["a=b"]),
        ):
            for method in ("rpc.call", "stream.call"):
                params = {"method": "plain", "traceparent": PARENT, name: wrong}
                error = connection.error(method, params)
                self.assertError(error, -32602, parameter=name, got=wrong)
                if isinstance(wrong, str):
                    self.assertIn(f"`{name}` must be a W3C {name}", error["message"])

    def test_a_call_that_is_run_again_has_it_still(self) -> None:
        connection = self.connect()
        gate = connection.request("rpc.call", {"method": "beside", "params": ["gate"]})
        connection.call("let", ["gate"])
        connection.result(gate)
        self.daemon.kill_python()
        self.assertEqual(self.call(connection, traceparent=PARENT, tracestate=STATE), [PARENT, STATE])

    def test_a_posts_header_is_for_the_calls_in_it(self) -> None:
        plain = {"jsonrpc": "2.0", "id": 1, "method": "plain"}
        own = {**plain, "id": 2, "method": "rpc.call", "params": {"method": "plain", "traceparent": OTHER}}
        wrapped = {**plain, "id": 3, "method": "rpc.call", "params": ["plain"]}
        for message, headers, told in (
            (plain, (f"traceparent: {PARENT}",), [PARENT, None]),
            (plain, (f"Traceparent: {PARENT}", "TraceState: a=1", "tracestate: b=2"), [PARENT, "a=1,b=2"]),
            (plain, (), NONE),
            # What can't be read is ignored.
            (plain, (f"traceparent: {PARENT}0", "tracestate: a=1"), NONE),
            (plain, (f"traceparent: {PARENT}", f"traceparent: {OTHER}"), NONE),
            (plain, (f"traceparent: {PARENT}", f"tracestate: {'a' * 513}"), [PARENT, None]),
            (own, (f"traceparent: {PARENT}", "tracestate: a=1"), [OTHER, None]),
            (wrapped, (f"traceparent: {PARENT}",), [PARENT, None]),
        ):
            with self.subTest(message=message, headers=headers):
                self.assertEqual(self.posted(post(message, *headers)), [told])
        both = post([plain, own, wrapped], f"traceparent: {PARENT}")
        self.assertEqual(self.posted(both), [[PARENT, None], [OTHER, None], [PARENT, None]])
        # It is that one request's, not the connection's.
        self.assertEqual(self.posted(post(plain, f"traceparent: {PARENT}") + post(plain)), [[PARENT, None], NONE])

    def posted(self, text: str) -> list[Any]:
        connection = self.connect()
        connection.write(text)
        connection.half_close()
        results = []
        for status, body in read_answers(connection.socket):
            self.assertEqual(status, 200, body)
            answer = json.loads(body)
            results += [each["result"] for each in (answer if isinstance(answer, list) else [answer])]
        return results

    def test_an_upgrades_header_is_for_nobody(self) -> None:
        connection = WebSocketConnection(self.daemon.path, upgrade=False)
        self.addCleanup(connection.close)
        self.assertEqual(connection.upgrade(traceparent=PARENT)[0], 101)
        self.assertEqual(connection.call("plain"), NONE)
        self.assertEqual(self.call(connection, traceparent=OTHER), [OTHER, None])

    def test_the_command_line_has_flags_and_takes_the_environments(self) -> None:
        def call(*arguments: str, **environment: str) -> tuple[int, str]:
            env = self.daemon.places.environment(**{"TRACEPARENT": "", "TRACESTATE": ""} | environment)
            ended = self.daemon.places.run("call", *arguments, env=env)
            return ended.returncode, ended.stdout or ended.stderr

        def told(*trace: Optional[str]) -> tuple[int, str]:
            return 0, json.dumps(trace, separators=(",", ":")) + "\n"

        self.assertEqual(call("plain"), told(None, None))
        self.assertEqual(call("plain", "--traceparent", PARENT, "--tracestate", STATE), told(PARENT, STATE))
        self.assertEqual(call("plain", TRACEPARENT=PARENT, TRACESTATE="a=1"), told(PARENT, "a=1"))
        self.assertEqual(call("plain", "--traceparent", OTHER, TRACEPARENT=PARENT, TRACESTATE="a"), told(OTHER, None))
        self.assertEqual(call("plain", TRACEPARENT="00-malformed", TRACESTATE="a=1"), told(None, None))
        items = "".join([told(PARENT, None)[1]] * 2)
        self.assertEqual(call("steps", "count=1", "--stream", TRACEPARENT=PARENT), (0, items))
        for wrong in (("--traceparent", "00-0"), ("--traceparent", PARENT, "--tracestate", "é"), ("--tracestate", "a")):
            status, said = call("plain", *wrong)
            self.assertEqual(status, 2, said)
            self.assertIn("trace", said)
