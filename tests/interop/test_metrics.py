"""/metrics, read by the Prometheus client's own parser and held to Prometheus' conventions, as `promtool check metrics`
would, and a server that scrapes it again and again."""

from __future__ import annotations

import math
import os
import re
import signal
from typing import Any, Optional

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from support.case import DaemonTest
from support.daemon import Daemon
from support.framings import HttpConnection

Series = tuple[str, tuple[tuple[str, str], ...]]

#: What a name ends in that has a unit, or none.
UNITS = ("_seconds", "_bytes")
UNITLESS = re.compile(
    r"_(calls|errors|connections|restarts|python_exits|events_dropped)$|_(open|queued|in_flight|state|info)$"
)
#: Abbreviations and prefixes of units that are not base units.
NOT_BASE = re.compile(r"_(ms|us|ns|millis\w*|micros\w*|nanos\w*|minutes|hours|kb|mb|kib|mib|kilobytes|percent)(_|$)")
#: What a controller, its clients and its process may not make more of.
MOST_SERIES = 129 * (6 + 21) + 150


def lint(text: str) -> list[str]:
    """What is wrong with a page."""
    wrong: list[str] = []
    seen: set[str] = set()
    family = ""
    told: dict[str, set[str]] = {}
    for line in text.splitlines():
        if match := re.match(r"# (HELP|TYPE) (\w+) (.+)$", line):
            what, name, rest = match.groups()
            # The parser makes up for it where the name lacks it.
            if what == "TYPE" and (rest == "counter") != name.endswith("_total"):
                wrong.append(f"{name} is a {rest}")
            if name != family and name in told:
                wrong.append(f"{name} is not in one piece")
            if what in told.setdefault(name, set()):
                wrong.append(f"{name} has two lines of {what}")
            told[name].add(what)
            family = name
            continue
        sample = re.match(r"(\w+)(\{.*\})? (\S+)$", line)
        if not sample:
            wrong.append(f"what is {line!r}?")
            continue
        name = re.sub(r"_(bucket|sum|count)$", "", sample[1]) if sample[1] not in told else sample[1]
        if name != family:
            wrong.append(f"{sample[1]} is among those of {family}")
        if line.rpartition(" ")[0] in seen:
            wrong.append(f"{line} is there twice")
        seen.add(line.rpartition(" ")[0])
    wrong += [f"{name} has no {what}" for name, of in told.items() for what in ("HELP", "TYPE") if what not in of]
    families = list(text_string_to_metric_families(text))
    for metric in families:
        wrong += _lint_family(metric)
    if len(seen) > MOST_SERIES:
        wrong.append(f"there are {len(seen)} series")
    return wrong


def _lint_family(family: Metric) -> list[str]:
    name = family.name  # Of a counter, without `_total`.
    wrong = []
    if family.type not in ("counter", "gauge", "histogram"):
        wrong.append(f"{name} is a {family.type}")
    if not re.fullmatch(r"(baskd|process)(_[a-z]+)+", name):
        wrong.append(f"{name} is no name")
    if not family.documentation.endswith((".", "0", "1")) or family.documentation != family.documentation.strip():
        wrong.append(f"{name} is not told in a sentence: {family.documentation!r}")
    if not name.endswith(UNITS) and not UNITLESS.search(name):
        wrong.append(f"{name} has no unit")
    if NOT_BASE.search(name):
        wrong.append(f"{name} is in no base unit")
    for sample in family.samples:
        if not all(re.fullmatch(r"[a-z_]+", label) and not label.startswith("__") for label in sample.labels):
            wrong.append(f"{sample.name} has labels {sorted(sample.labels)}")
        if {"instance", "job"} & sample.labels.keys():
            wrong.append(f"{sample.name} has a label that is Prometheus' own")
        if math.isnan(sample.value) or sample.value < 0:
            wrong.append(f"{sample.name} is {sample.value}")
    if family.type == "histogram":
        wrong += _lint_histogram(family)
    return wrong


def _lint_histogram(family: Metric) -> list[str]:
    wrong = []
    of: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        parts = of.setdefault(tuple(sorted(labels.items())), {"buckets": []})
        if sample.name.endswith("_bucket"):
            parts["buckets"].append((float(sample.labels["le"]), sample.value))
        else:
            parts[sample.name.rpartition("_")[2]] = sample.value
    for of_labels, parts in of.items():
        bounds = [bound for bound, _ in parts["buckets"]]
        counts = [count for _, count in parts["buckets"]]
        if bounds != sorted(set(bounds)) or bounds[-1] != math.inf:
            wrong.append(f"{family.name}{of_labels} has bounds {bounds}")
        if counts != sorted(counts) or counts[-1] != parts["count"]:
            wrong.append(f"{family.name}{of_labels} has counts {counts} of {parts['count']}")
        if (parts["sum"] > 0) != (parts["count"] > 0):
            wrong.append(f"{family.name}{of_labels} has a sum of {parts['sum']}")
    return wrong


class Page(DaemonTest):
    own_daemon = True

    def page(self, daemon: Daemon) -> str:
        connection = HttpConnection(daemon.path)
        status, body = connection.ask("GET", "/metrics")
        connection.close()
        self.assertEqual(status, 200)
        return body.decode()

    def series(self, text: str) -> dict[Series, float]:
        """All samples of counters and histograms: what may only grow."""
        families = text_string_to_metric_families(text)
        samples = (s for family in families if family.type != "gauge" for s in family.samples)
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}

    def value(self, text: str, series: str, /, **labels: str) -> Optional[float]:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == series and sample.labels == labels:
                    value: float = sample.value
                    return value
        return None

    def assertGood(self, text: str) -> None:
        self.assertEqual(lint(text), [], text[:2000])


class Conventions(Page):
    def test_a_daemon_in_every_state(self) -> None:
        """Each line of it is as the conventions want it: idle, after everything that can happen, without a Python."""
        daemon = self.start("lab.py")
        self.assertGood(self.page(daemon))
        connection = self.connect(daemon)
        for _ in range(20):
            connection.call("add", [1])
        connection.call("setProperty", ["model", "x"])
        for method in ("fail", "nope", "exit", "daemon.nope"):
            connection.error(method)
        connection.error("rpc.call", {"method": "sleep", "params": [60], "timeout_ms": 50})
        os.kill(connection.call("pid"), signal.SIGKILL)
        connection.call("add", [1])
        connection.call("daemon.reload")
        messages = connection.call("messages.subscribe", ["own"])
        connection.call("messages.subscribe", ["all"])
        connection.call("logs.subscribe")
        stream = connection.call("stream.call", {"method": "items", "params": [10], "window": 1})
        connection.event(stream)
        text = self.page(daemon)
        self.assertGood(text)
        for name, labels, value in (
            ("baskd_subscriptions_open", {"kind": "stream"}, 1),
            ("baskd_subscriptions_open", {"kind": "messages"}, 2),
            ("baskd_subscriptions_open", {"kind": "logs"}, 1),
            ("baskd_restarts_total", {"reason": "crash"}, 2),
            ("baskd_restarts_total", {"reason": "reload"}, 1),
            ("baskd_python_exits_total", {"kind": "code"}, 1),
            ("baskd_python_exits_total", {"kind": "signal"}, 1),
            ("baskd_python_exits_total", {"kind": "oom"}, 0),
            ("baskd_errors_total", {"code": "-32601", "name": "MethodNotFound"}, 2),
        ):
            self.assertEqual(self.value(text, name, **labels), value, (name, labels))
        self.assertGreaterEqual(self.value(text, "baskd_call_wait_seconds_count") or 0, 25)
        connection.call("stream.cancel", [stream])
        connection.call("messages.unsubscribe", [messages])
        while "error" not in connection.event(stream)["result"]:
            pass
        text = self.page(daemon)
        self.assertEqual(self.value(text, "baskd_subscriptions_open", kind="stream"), 0)
        self.assertEqual(self.value(text, "baskd_subscriptions_open", kind="messages"), 1)
        connection.close()
        self.until(lambda: self.value(self.page(daemon), "baskd_connections_open") == 1)
        text = self.page(daemon)
        for kind in ("stream", "messages", "logs"):
            self.assertEqual(self.value(text, "baskd_subscriptions_open", kind=kind), 0)
        self.assertGood(text)

    def test_without_a_python(self) -> None:
        daemon = self.start("broken_import.py")
        daemon.wait_for_log("not started again", seconds=60)
        self.connect(daemon).error("anything")
        text = self.page(daemon)
        self.assertGood(text)
        self.assertEqual(self.value(text, "baskd_backend_state", state="unavailable"), 1)

    def test_what_waits(self) -> None:
        daemon = self.start("never_ready.py")
        connection = self.connect(daemon)
        for _ in range(3):
            connection.request("anything")
        text = self.page(daemon)
        self.assertGood(text)
        self.assertEqual(self.value(text, "baskd_calls_queued"), 3)
        self.assertGreater(self.value(text, "baskd_queue_oldest_age_seconds") or 0, 0)
        self.assertEqual(self.value(text, "baskd_call_wait_seconds_count"), 0)
        self.assertEqual(self.value(text, "baskd_backend_state", state="starting"), 1)

    def test_the_lint_itself_finds_what_is_wrong(self) -> None:
        good = "# HELP baskd_a_seconds What.\n# TYPE baskd_a_seconds gauge\nbaskd_a_seconds 1\n"
        self.assertEqual(lint(good), [])
        for bad in (
            good + "baskd_a_seconds 2\n",
            good.replace("# HELP baskd_a_seconds What.\n", ""),
            good.replace(" gauge", " counter"),
            good.replace("_seconds", "_ms"),
            good.replace("baskd_a_seconds 1", "baskd_a_seconds -1"),
            good.replace("baskd_a_seconds 1", 'baskd_a_seconds{instance="x"} 1'),
            good + '# HELP baskd_b_bytes B.\n# TYPE baskd_b_bytes gauge\nbaskd_a_seconds{x="1"} 2\n',
        ):
            self.assertTrue(lint(bad), bad)


class Cardinality(Page):
    def test_ten_thousand_methods(self) -> None:
        places = self.places()
        path = places.root / "controller.py"
        path.write_text(
            "from basecontroller import BaseController\n\n"
            "class Controller(BaseController):\n"
            "    for n in range(10_000):\n        exec(f'def m{n}(self): return {n}')\n"
            "    def other(self): return 0\n"
        )
        daemon = self.start(path, places=places)
        connection = self.connect(daemon)
        before: dict[Series, float] = {}
        for upto in (100, 128, 300, 2000):
            for n in range(upto):
                connection.call(f"m{n}")
            connection.call("other")
            text = self.page(daemon)
            self.assertGood(text)
            now = self.series(text)
            # Nothing goes back, and nothing moves from one series to another.
            for series, value in before.items():
                self.assertGreaterEqual(now[series], value, series)
            before = now
        methods = {dict(labels)["method"] for _, labels in before if "method" in dict(labels)}
        self.assertEqual(len(methods), 129)
        self.assertEqual(before["baskd_calls_total", (("method", "m5"), ("outcome", "result"))], 4)
        # 4 of its own, and what all had that came later than 128 others.
        others = before["baskd_calls_total", (("method", "other"), ("outcome", "result"))]
        self.assertEqual(others, 4 + (300 - 128) + (2000 - 128))

    def test_reloads_that_take_methods_away(self) -> None:
        places = self.places()
        path = places.root / "controller.py"

        def write(version: int) -> None:
            body = "".join(f"    def v{version}_{n}(self): return {n}\n" for n in range(40))
            path.write_text(f"from basecontroller import BaseController\n\nclass Controller(BaseController):\n{body}")

        write(0)
        daemon = self.start(path, places=places)
        connection = self.connect(daemon)
        before: dict[Series, float] = {}
        for version in range(5):
            if version:
                write(version)
                connection.call("daemon.reload")
            for n in range(40):
                connection.call(f"v{version}_{n}")
            text = self.page(daemon)
            self.assertGood(text)
            now = self.series(text)
            for series, value in before.items():
                self.assertGreaterEqual(now[series], value, series)
            before = now
        counts = [value for (name, _), value in before.items() if name == "baskd_calls_total"]
        self.assertEqual(sum(counts), 200)
        self.assertEqual(before["baskd_calls_total", (("method", "other"), ("outcome", "result"))], 200 - 128)
