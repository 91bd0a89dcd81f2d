"""Each rule of the model refuses what it is there to refuse: histories that are made up, and wrong in one thing."""

from __future__ import annotations

import unittest
from pathlib import Path
from typing import Any, Optional

from . import rules_of_state
from .history import Answer, Entry, Fault, History, Request
from .rules import RULES, check

MS = 1_000_000


class Made:
    """A history in the making. Times are in milliseconds."""

    def __init__(self) -> None:
        self.history = History()
        self.place = 0

    def call(self, token: str, method: str = "work", at: int = 10, **more: Any) -> Request:
        self.place += 1
        way = more.pop("way", "call")
        may = frozenset(more.pop("may", ("BackendCrashed",)))
        params = more.pop("params", {})
        made = Request(token, more.pop("client", "c"), 1, self.place, method, params, way, at * MS, may, **more)
        self.history.requests[token] = made
        return made

    def result(self, request: Request, at: int = 20, value: Any = None) -> Request:
        request.answers.append(Answer(at * MS, {"result": request.token if value is None else value}))
        return request

    def error(self, request: Request, code: int, at: int = 20, **data: Any) -> Request:
        request.answers.append(Answer(at * MS, {"error": {"code": code, "message": "m", "data": data}}))
        return request

    def ledger(self, kind: str, *words: str, pid: int = 1, at: int = 15) -> None:
        self.history.ledger.append(Entry(kind, words, pid, at * MS))

    def ran(self, token: str, pid: int = 1, at: int = 15) -> None:
        self.ledger("b", token, pid=pid, at=at)
        self.ledger("e", token, pid=pid, at=at)

    def kill(self, at: int = 16, pid: Optional[int] = 1, kind: str = "Python SIGKILL") -> None:
        self.history.faults.append(Fault(kind, at * MS, pid))


class Refusals(unittest.TestCase):
    def setUp(self) -> None:
        self.made = Made()

    def refused(self, *names: str) -> None:
        """That exactly these rules refuse the history."""
        self.assertEqual({violation.rule for violation in check(self.made.history)}, set(names))


class Rules(Refusals):
    def test_a_good_history_is_accepted(self) -> None:
        made = self.made
        made.ledger("u", "1", at=1)
        for token in ("a", "b"):
            made.result(made.call(token))
            made.ran(token)
        made.error(made.call("c"), -32021, ran="yes")
        made.ledger("b", "c")
        made.error(made.call("d"), -32021, ran="no")
        made.result(made.call("e", "again"))
        made.ran("e")
        made.ran("e", pid=2, at=16)
        self.refused()

    def test_every_rule_is_tested_here(self) -> None:
        source = Path(__file__).read_text()
        untested = [rule.__name__ for rule in RULES if f'refused("{rule.__name__}"' not in source]
        self.assertEqual(untested, [])
        self.assertIn(rules_of_state.properties_are_what_was_set, RULES)

    def test_a_call_that_is_not_answered(self) -> None:
        self.made.call("a")
        self.refused("every_request_has_one_answer")

    def test_a_call_that_is_answered_twice(self) -> None:
        made = self.made
        made.result(made.result(made.call("a")))
        made.ran("a")
        self.refused("every_request_has_one_answer")

    def test_a_notification_that_is_answered(self) -> None:
        made = self.made
        made.result(made.call("a", way="notification"))
        made.ran("a")
        self.refused("every_request_has_one_answer")

    def test_a_stream_with_two_ends(self) -> None:
        made = self.made
        stream = made.call("a", "items", way="stream", params={"n": 0})
        stream.ends = [Answer(20 * MS, {"result": "a"})] * 2
        stream.closings = 1
        made.ran("a")
        self.refused("every_request_has_one_answer")

    def test_who_is_gone_needs_no_answer(self) -> None:
        self.made.call("a").lost = "vanished"
        self.refused()

    def test_a_stray_message(self) -> None:
        self.made.history.strays.append("{}")
        self.refused("nothing_answers_what_was_not_asked")

    def test_an_error_that_may_not_be(self) -> None:
        made = self.made
        made.error(made.call("a"), -32022)
        self.refused("an_answer_is_one_that_may_be")

    def test_a_crash_that_does_not_say_whether_it_ran(self) -> None:
        made = self.made
        made.error(made.call("a"), -32021)
        self.refused("an_answer_is_one_that_may_be")

    def test_a_cancel_that_nobody_asked_for(self) -> None:
        made = self.made
        made.error(made.call("a", may=("Cancelled",)), -32024, by="client")
        self.refused("an_answer_is_one_that_may_be")

    def test_anothers_result(self) -> None:
        made = self.made
        made.result(made.call("a"), value="b")
        made.ran("a")
        self.refused("a_result_is_its_own")

    def test_a_result_of_what_has_not_ended(self) -> None:
        made = self.made
        made.result(made.call("a"))
        made.ledger("b", "a")
        self.refused("what_has_a_result_has_ended")

    def test_a_result_before_its_end(self) -> None:
        made = self.made
        made.result(made.call("a"), at=20)
        made.ran("a", at=25)
        self.refused("what_has_a_result_has_ended")

    def test_a_call_that_is_run_twice(self) -> None:
        made = self.made
        made.result(made.call("a"))
        made.ledger("b", "a", pid=1)
        made.ran("a", pid=2)
        self.refused("nothing_runs_twice_unless_it_may")

    def test_an_idempotent_call_that_is_run_three_times(self) -> None:
        made = self.made
        made.result(made.call("a", "again"))
        for pid in (1, 2, 3):
            made.ran("a", pid=pid)
        self.refused("nothing_runs_twice_unless_it_may")

    def test_a_notification_that_is_run_twice(self) -> None:
        made = self.made
        made.call("a", way="notification")
        made.ledger("b", "a", pid=1)
        made.ran("a", pid=2)
        self.refused("nothing_runs_twice_unless_it_may")

    def test_a_second_run_in_the_same_process(self) -> None:
        made = self.made
        made.result(made.call("a", "again"))
        made.ran("a")
        made.ran("a")
        self.refused("what_runs_again_does_so_elsewhere")

    def test_an_idempotent_call_that_got_no_second_run(self) -> None:
        made = self.made
        made.error(made.call("a", "again"), -32021, ran="yes")
        made.ledger("b", "a")
        self.refused("an_idempotent_call_gets_its_second_run")

    def test_no_that_is_a_lie(self) -> None:
        made = self.made
        made.error(made.call("a"), -32021, ran="no")
        made.ledger("b", "a")
        self.refused("ran_no_has_not_begun")

    def test_yes_that_is_a_lie(self) -> None:
        made = self.made
        made.error(made.call("a"), -32021, ran="yes")
        self.refused("ran_yes_has_begun")

    def test_one_kill_can_hit_one_call_at_its_first_line(self) -> None:
        made = self.made
        made.kill()
        made.error(made.call("a"), -32021, ran="yes")
        self.refused()
        made.error(made.call("b"), -32021, ran="yes")
        self.refused("ran_yes_has_begun")

    def test_a_call_that_a_stopping_daemon_said_not_to_have_begun_and_ran(self) -> None:
        made = self.made
        made.error(made.call("a", may=("Cancelled",)), -32024, by="shutdown", ran="no")
        made.ledger("b", "a", at=9)
        self.refused("ran_no_has_not_begun")

    def test_a_call_that_was_out_of_time_in_the_queue_and_ran(self) -> None:
        made = self.made
        made.error(made.call("a", may=("TimedOut",)), -32023, where="queued")
        made.ledger("b", "a", at=30)
        self.refused("what_is_said_not_to_have_run_has_not")

    def test_a_call_that_was_refused_and_ran(self) -> None:
        made = self.made
        made.error(made.call("a", may=("BackendUnavailable",)), -32022)
        made.ledger("b", "a", at=30)
        self.refused("what_is_said_not_to_have_run_has_not")

    def test_an_idempotent_call_for_whose_second_run_there_was_no_python(self) -> None:
        made = self.made
        made.error(made.call("a", "again", may=("BackendUnavailable",)), -32022)
        made.ledger("b", "a", at=11)
        made.ledger("u", "1", pid=2, at=12)
        self.refused()
        made.ledger("b", "a", pid=2, at=30)
        self.refused("what_is_said_not_to_have_run_has_not")

    def test_calls_out_of_order(self) -> None:
        made = self.made
        for token in ("a", "b"):
            made.result(made.call(token))
        made.ran("b", at=11)
        made.ran("a", at=12)
        self.refused("calls_of_a_connection_begin_in_order")

    def test_a_stream_that_has_lost_an_item(self) -> None:
        made = self.made
        stream = made.call("a", "items", way="stream", params={"n": 3})
        stream.items, stream.closings = [0, 2], 1
        stream.ends = [Answer(20 * MS, {"result": "a"})]
        made.ran("a")
        self.refused("a_stream_is_whole")

    def test_a_stream_that_is_cut_short(self) -> None:
        made = self.made
        stream = made.call("a", "items", way="stream", params={"n": 3})
        stream.items, stream.closings = [0, 1], 1
        stream.ends = [Answer(20 * MS, {"result": "a"})]
        made.ran("a")
        self.refused("a_stream_is_whole")

    def test_a_stream_that_is_not_closed(self) -> None:
        made = self.made
        stream = made.call("a", "items", way="stream", params={"n": 0})
        stream.ends = [Answer(20 * MS, {"result": "a"})]
        made.ran("a")
        self.refused("a_stream_is_whole")


class State(Refusals):
    def set(
        self, token: str, value: Any, at: int, name: str = "cSeen", code: Optional[int] = None, **data: Any
    ) -> None:
        made = self.made.call(token, "setProperty", at=at, params={"name": name, "value": value}, may=NAMED)
        if code is None:
            self.made.result(made, at + 1, value)
        elif code:
            self.made.error(made, code, at + 1, **data)
        else:
            made.lost = "daemon"

    def get(self, token: str, value: Any, at: int, name: str = "cSeen") -> None:
        made = self.made.call(token, "getProperty", at=at, params={"name": name}, may=NAMED)
        if value is None:
            self.made.error(made, -32602, at + 1)
        else:
            self.made.result(made, at + 1, value)

    def test_a_property_that_went_back(self) -> None:
        self.set("a", 1, 10)
        self.set("b", 2, 20)
        self.get("c", 1, 30)
        self.refused("properties_are_what_was_set")

    def test_a_property_that_is_gone_after_a_kill_of_the_daemon(self) -> None:
        self.set("a", 1, 10)
        self.made.kill(15, None, "daemon SIGKILL")
        self.get("b", None, 30)
        self.refused("properties_are_what_was_set")

    def test_a_secret_that_outlived_the_daemon(self) -> None:
        self.set("a", 1, 10, "cApiKey")
        self.made.kill(15, None, "daemon SIGKILL")
        self.get("b", 1, 30, "cApiKey")
        self.refused("properties_are_what_was_set")

    def test_one_that_was_in_flight_may_be_either_and_then_stays(self) -> None:
        self.set("a", 1, 10)
        self.set("b", 2, 20, code=0)
        self.made.kill(22, None, "daemon SIGKILL")
        self.get("c", 1, 30)
        self.refused()
        self.get("d", 2, 40)
        self.refused("properties_are_what_was_set")

    def test_an_attempt_that_is_said_not_to_have_run(self) -> None:
        self.set("a", 1, 10)
        self.set("b", 2, 20, code=-32021, ran="no")
        self.get("c", 2, 30)
        self.refused("properties_are_what_was_set")

    def test_a_process_that_was_not_told_a_property(self) -> None:
        made = self.made
        self.set("a", 1, 10)
        made.ledger("u", "1", pid=2, at=20)
        made.result(made.call("b", at=21), at=30)
        made.ran("b", pid=2, at=25)
        self.refused("every_process_is_told_the_properties")

    def test_a_counter_that_went_back(self) -> None:
        made = self.made
        for token, value in (("a", "1"), ("b", "1")):
            made.result(made.call(token, "count"))
            made.ledger("b", token)
            made.ledger("k", token, value)
            made.ledger("e", token)
        self.refused("counters_go_on_from_a_snapshot")

    def test_a_snapshot_that_was_never_taken(self) -> None:
        self.made.ledger("s", "3")
        self.made.ledger("r", "4", pid=2)
        self.refused("counters_go_on_from_a_snapshot")

    def test_a_snapshot_that_was_kept_and_not_restored(self) -> None:
        made = self.made
        made.ledger("s", "3", at=2)
        made.history.kept.append((3 * MS, 3))
        made.ledger("u", "1", pid=2, at=5)
        made.result(made.call("a"))
        made.ran("a", pid=2)
        self.refused("no_process_serves_behind_a_kept_snapshot")

    def test_an_age_that_is_no_snapshots(self) -> None:
        made = self.made
        made.ledger("s", "3", at=2)
        made.error(made.call("a", at=9000), -32021, at=9010, ran="yes", snapshot_age_ms=100)
        made.ledger("b", "a", at=9005)
        self.refused("an_age_is_that_of_a_snapshot")


NAMED = ("BackendCrashed", "InvalidParams", "InternalError")


if __name__ == "__main__":
    unittest.main()
