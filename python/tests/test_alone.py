"""The router by itself, as the seed ran."""

from __future__ import annotations

import json
import os
import tempfile
import textwrap
import unittest
from pathlib import Path
from typing import Any

from tests.support import FIXTURES, alone


def lines(*messages: Any) -> str:
    return "".join(json.dumps(message) + "\n" for message in messages)


class TestAlone(unittest.TestCase):
    def test_the_seeds_line(self) -> None:
        done = alone('{"method":"increment","params":{"by":5}}')
        self.assertEqual((done.stdout, done.stderr, done.returncode), ('{"result":{"counter":5}}\n', "", 0))

    def test_the_example_before_its_properties_are_set(self) -> None:
        done = alone(lines({"method": "getModelPath"}, {"method": "getTokenizer"}, {"method": "reset"}))
        self.assertEqual(
            done.stdout.splitlines(),
            ['{"result":{"model":null}}', '{"result":{"tokenizer":null}}', '{"result":{"counter":0}}'],
        )

    def test_streams_with_and_without_an_id(self) -> None:
        first, *_, last = alone(lines({"method": "testStream"})).stdout.splitlines()
        self.assertEqual(json.loads(first.split("__STREAM__")[1]), {"step": 1, "of": 5})
        self.assertIn("result", json.loads(last))
        first, *_, last = alone(lines({"id": "x", "method": "testStream"})).stdout.splitlines()
        self.assertEqual(json.loads(first.split("__STREAM__")[1]), {"id": "x", "data": {"step": 1, "of": 5}})
        self.assertEqual(json.loads(last)["id"], "x")

    def test_what_is_wrong_is_answered_and_it_goes_on(self) -> None:
        done = alone('{"method"\n\n[]\n{"method":"incremnt"}\n{"method":"increment"}\n')
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([a.get("error", {}).get("code") for a in answers], [-32700, -32600, -32601, None])
        self.assertEqual(answers[2]["error"]["data"], {"nearest": ["increment"]})

    def test_prints_go_to_stderr(self) -> None:
        done = alone(lines({"id": 1, "method": "python"}), str(FIXTURES / "prints.py"))
        self.assertEqual(done.stdout, '{"id":1,"result":"hello"}\n')
        self.assertIn("out hello\n", done.stderr)
        self.assertIn("err hello\n", done.stderr)

    def test_controllers_by_every_kind_of_name(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            source = """
                import helper
                class Other:
                    def f(self):
                        self.send(1)
                        return helper.VALUE
            """
            os.mkdir(os.path.join(folder, "package"))
            for place in (folder, os.path.join(folder, "package")):
                Path(place, "other.py").write_text(textwrap.dedent(source))
            Path(folder, "helper.py").write_text("VALUE = 'ours'\n")
            for old in ("basecontroller.py", "router.py", "index.py"):
                Path(folder, old).write_text("raise ImportError('the old one')\n")
            Path(folder, "controller.py").write_text(
                "from basecontroller import BaseController\n"
                "class Controller(BaseController):\n def f(self): return __name__\n"
            )
            request = lines({"method": "f"})
            for spec in ("other.py:Other", "other:Other", "package.other:Other", f"{folder}/other.py:Other"):
                done = alone(request, spec, cwd=folder)
                self.assertEqual(done.stdout, '__STREAM__1\n{"result":"ours"}\n', (spec, done.stderr))
            self.assertEqual(alone(request, "controller.py", cwd=folder).stdout, '{"result":"controller"}\n')
            for spec, said in [
                ("other.py", "There is no class Controller in"),
                ("other.py", "there is Other"),
                ("absent.py", "There is no file"),
                ("absent.module:C", "There is no module absent"),
            ]:
                done = alone(request, spec, cwd=folder)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn(said, done.stderr)
                self.assertNotIn("Traceback", done.stderr)

    def test_async_methods(self) -> None:
        done = alone(lines({"id": 1, "method": "gather"}), str(FIXTURES / "aio.py"))
        self.assertEqual(json.loads(done.stdout.splitlines()[-1]), {"id": 1, "result": [0, 1, 2]}, done.stderr)
        self.assertIn("aio stopped", done.stderr)

    def test_generators_have_no_bound(self) -> None:
        done = alone(lines({"method": "count", "params": {"n": 5000}}), str(FIXTURES / "generators.py"))
        self.assertEqual(len(done.stdout.splitlines()), 5001)
