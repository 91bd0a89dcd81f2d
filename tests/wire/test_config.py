"""The config file, the environment and the flags: which of them counts, and what is refused before anything starts."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from support.case import DaemonTest
from support.daemon import Daemon, Places


class Sources(DaemonTest):
    own_daemon = True

    def limit(self, daemon: Daemon) -> int:
        """`max_own`, as it is met."""
        connection = self.connect(daemon)
        for number in range(20):
            answer = connection.answer(connection.request("messages.subscribe", ["own"]))
            if "error" in answer:
                self.assertError(answer["error"], -32006, limit=number)
                return number
        raise AssertionError("no limit was met")

    def test_flags_beat_the_environment_beats_the_file(self) -> None:
        self.assertEqual(self.limit(self.start("lab.py")), 8)
        self.assertEqual(self.limit(self.start("lab.py", config="")), 8)
        self.assertEqual(self.limit(self.start("lab.py", config="max_own = 2\n")), 2)
        self.assertEqual(self.limit(self.start("lab.py", config="max_own = 2\n", env={"BASKD_MAX_OWN": "3"})), 3)
        # Of what both can say, the flag's counts: with the file's level, nothing would be logged.
        self.start("lab.py", "--log", "info", config='log = "error"\n')

    def test_each_name_has_its_file_and_another_may_be_given(self) -> None:
        places = self.places()
        places.config("other").parent.mkdir(parents=True)
        places.config("default").write_text("max_own = 2\n")
        places.config("other").write_text("max_own = 3\n")
        mine = places.root / "baskd.toml"
        mine.write_text("max_own = 4\n")
        for flags, options, limit in (
            ([], {}, 2),
            ([], {"name": "other"}, 3),
            (["--config", str(mine)], {}, 4),
            ([], {"env": {"BASKD_CONFIG": str(mine)}}, 4),
        ):
            with Daemon("lab.py", *flags, places=places, **options) as daemon:
                self.assertEqual(self.limit(daemon), limit)

    def test_the_controller_may_stand_in_the_file_relative_to_it(self) -> None:
        places = self.places()
        folder = places.root / "project"
        folder.mkdir()
        (folder / "models.py").write_text("class Small:\n    def size(self):\n        return 1\n")
        (folder / "baskd.toml").write_text('controller = "models.py:Small"\n')
        with Daemon(None, "--config", str(folder / "baskd.toml"), places=places) as daemon:
            self.assertEqual(self.connect(daemon).call("size"), 1)

    def test_a_method_that_is_not_there_is_said_in_the_log(self) -> None:
        daemon = self.start("lab.py", config='[methods.slep]\ntimeout = "1s"\n')
        daemon.wait_for_log("the config has a timeout for `slep`, .* did you mean `sleep`")


class Refusals(DaemonTest):
    own_daemon = True

    def refused(self, places: Places, *flags: str, env: dict[str, str] | None = None) -> str:
        done = places.run("serve", *flags, env=places.environment(**(env or {})))
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertFalse(places.socket().exists())
        return done.stderr

    def write(self, text: str) -> tuple[Places, Path]:
        places = self.places()
        file = places.config()
        file.parent.mkdir(parents=True)
        file.write_text(text)
        return places, file

    def test_an_unknown_key(self) -> None:
        places, file = self.write("# mine\nmax_queu = 5\n")
        self.assertIn(f"{file}, line 2: `max_queu` is no setting: did you mean `max_queue`?", self.refused(places))

    def test_a_value_out_of_its_range(self) -> None:
        for text, wanted in (
            ("workers = 0", "`workers` must be a whole number from 1 to 64, not 0"),
            ("max_queue = 30_721", "`max_queue` must be a whole number from 1 to 30720"),
            ('drain_timeout = "soon"', '`drain_timeout` must be a duration such as "250ms"'),
            ('on_disconnect = "ignore"', '`on_disconnect` must be "cancel" or "finish", not "ignore"'),
        ):
            places, file = self.write(text)
            said = self.refused(places)
            self.assertIn(f"{file}, line 1: ", said)
            self.assertIn(wanted, said)

    def test_what_is_no_toml(self) -> None:
        places, file = self.write("workers 2\n")
        self.assertIn(f"{file}, line 1: ", self.refused(places))

    def test_a_file_that_was_asked_for_and_is_not_there(self) -> None:
        self.assertIn("can't be read", self.refused(self.places(), "--config", "no.toml"))

    def test_what_is_no_file_is_not_waited_for(self) -> None:
        places = self.places()
        path = places.config("default")
        path.parent.mkdir(parents=True)
        os.mkfifo(path)
        for command in (("call", "f"), ("config", "--check"), ("doctor",), ("serve",)):
            done = places.run(*command)
            self.assertIn("it is no regular file: put one in its place", done.stdout + done.stderr, command)
            self.assertNotEqual(done.returncode, 0)

    def test_flags_and_variables(self) -> None:
        places = self.places()
        self.assertIn("--workers: must be a whole number", self.refused(places, "--workers", "0"))
        self.assertIn("--grace: must be a duration", self.refused(places, "--grace", "long"))
        self.assertIn("--log: must be a log level", self.refused(places, "--log", "very=loud=indeed"))
        said = self.refused(places, env={"BASKD_MAX_REQUEST": "1"})
        self.assertIn("$BASKD_MAX_REQUEST: `max_request` must be a number of bytes", said)


class Command(DaemonTest):
    """`baskd config`, which needs no daemon."""

    own_daemon = True

    def write(self, text: str) -> tuple[Places, Path]:
        places = self.places()
        file = places.config()
        file.parent.mkdir(parents=True)
        file.write_text(text)
        return places, file

    def told(self, places: Places, *arguments: Any, status: int = 0, **variables: str) -> str:
        done = places.run("config", *arguments, env=places.environment(**variables))
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stderr if status else done.stdout

    def test_what_is_set_and_where(self) -> None:
        places, file = self.write("# mine\nworkers = 2\nmax_queue = 5\n\n[methods.search]\ntimeout = 90\n")
        said = self.told(places, BASKD_MAX_QUEUE="7", BASKD_GRACE="90s")
        rows = [line.split() for line in said.splitlines() if not line.startswith("#")]
        self.assertEqual(
            rows,
            [
                ["workers", "2", f"{file}:2"],
                ["grace", '"90s"', "$BASKD_GRACE"],
                ["max_queue", "7", "$BASKD_MAX_QUEUE"],
                ["methods.search.timeout", '"90s"', f"{file}:6"],
            ],
        )
        every = self.told(places, "--all")
        self.assertIn("\nmax_batch ", every)
        self.assertIn(" default\n", every)
        report = json.loads(self.told(places, "--json", BASKD_GRACE="90s"))
        self.assertEqual((report["path"], report["exists"]), (str(file), True))
        settings = {setting["name"]: setting for setting in report["settings"]}
        self.assertEqual(settings["workers"]["from"], {"file": str(file), "line": 2, "by": None})
        self.assertEqual(settings["grace"]["from"]["by"], "$BASKD_GRACE")
        self.assertEqual((settings["grace"]["value"], settings["grace"]["default"]), ("90s", "10s"))

    def test_nothing_is_set(self) -> None:
        places = self.places()
        self.assertIn("Everything has its default", self.told(places))
        self.assertEqual(self.told(places, "--path"), f"{places.config()}\n")
        self.assertEqual(self.told(places, "--path", "--name", "other"), f"{places.config('other')}\n")
        self.assertIn("is not there: everything has its default", self.told(places, "--check"))

    def test_the_default_file_is_right_as_it_is_and_uncommented(self) -> None:
        places = self.places()
        text = self.told(places, "--default")
        file = places.root / "baskd.toml"
        for written in (text, re.sub(r"(?m)^#(?=\w)", "", text)):
            file.write_text(written)
            self.assertEqual(self.told(places, "--check", file), f"{file} is right\n")
            self.assertEqual(json.loads(self.told(places, "--config", file, "--json"))["settings"], [])
        self.assertIn("\nworkers = 1\n", file.read_text())

    def test_all_slips_are_told_with_their_lines(self) -> None:
        places, file = self.write("workers = 0\nmax-queue = 5\n[methods.f]\nwatch = true\ntimeout = soon\n")
        said = self.told(places, "--check", status=2)
        for line, what in (
            (1, "`workers` must be a whole number from 1 to 64, not 0\n  1 | workers = 0"),
            (2, "`max-queue` is no setting: did you mean `max_queue`?\n  2 | max-queue = 5"),
            (4, "`watch` is a setting of the daemon, not of a method: write it above `[methods.f]`"),
            (5, "this is no TOML: string values must be quoted"),
        ):
            self.assertIn(f"{file}, line {line}: {what}", said)
        # What the daemon says is the same.
        done = places.run("serve")
        self.assertEqual((done.returncode, done.stderr), (2, said))
        error = json.loads(self.told(places, "--check", "--json", status=2))
        self.assertEqual(error["name"], "Usage")
        self.assertEqual(
            [(mistake["line"], mistake["key"], mistake["nearest"]) for mistake in error["mistakes"]][1],
            (2, "max-queue", "max_queue"),
        )
        self.assertIn("can't be read", self.told(places, "--check", "no.toml", status=2))

    def test_a_variable_that_is_almost_a_setting_is_told(self) -> None:
        places = self.places()
        done = places.run("config", env=places.environment(BASKD_MAX_QUEU="5"))
        self.assertEqual(done.returncode, 0)
        self.assertIn("$BASKD_MAX_QUEU is no setting: did you mean $BASKD_MAX_QUEUE?", done.stderr)
        daemon = self.start("lab.py", env={"BASKD_MAX_QUEU": "5"})
        self.assertTrue(daemon.wait_for_log(r"WARN .*\$BASKD_MAX_QUEU is no setting"))

    def test_an_editor(self) -> None:
        places = self.places()
        self.assertIn("is right", self.told(places, "--edit", EDITOR="sed -i 's/^#workers = 1/workers = 2/'"))
        self.assertIn("workers  2", self.told(places))
        said = self.told(places, "--edit", status=2, EDITOR="sed -i 's/^workers = 2/workers = 200/'")
        self.assertIn("must be a whole number from 1 to 64, not 200", said)
        self.assertIn("set $EDITOR", self.told(places, "--edit", status=1, EDITOR="no-such-editor"))


class OnDisconnect(DaemonTest):
    controller = "turns.py"
    config = 'on_disconnect = "finish"\n'

    def test_calls_of_a_vanished_client_end_by_themselves(self) -> None:
        gone, other = self.connect(), self.connect()
        gate = self.daemon.places.root / "finish"
        gone.call("messages.subscribe", ["own"])
        gone.request("hold", ["running", str(gate)])
        gone.read()
        gone.request("mark", ["queued"])
        # A window of one item is never opened again by its client; the stream has to end all the same.
        gone.call("stream.call", {"method": "marks", "params": [3], "window": 1})
        gone.close()
        self.until(lambda: other.call("daemon.status")["connections"] == 1)
        gate.touch()
        self.until(lambda: "marks 2" in other.call("order"))
        self.assertEqual(other.call("order"), ["running", "queued", "marks 0", "marks 1", "marks 2"])
        self.until(lambda: other.call("daemon.status")["in_flight"] == 0)  # The stream's end comes after its items.
        self.assertEqual(other.call("daemon.status")["queued"], 0)
