"""The methods as the router calls them."""

import os
import shutil
import sys
import tempfile
import unittest
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import numpy as np

import controller
from controller import Controller
from model import BATCH_TOKENS, DIMENSIONS, Array, Model
from store import Store

EXAMPLE = Path(controller.__file__).resolve().parent

CORPUS = {
    "weather.md": "# Weather\n\nIt will rain tomorrow, with strong winds in the evening.\n",
    "food/pasta.txt": "Boil the spaghetti for nine minutes, then add olive oil and garlic.\n",
    "src/sort.py": "def bubble_sort(values):\n    for i in range(len(values)):\n        ...\n",
}


class Cancelled(BaseException):
    """What `baskd.Cancelled` is: no Exception."""


class Quick:
    """A model that takes no time: texts of the same words have the same vector."""

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def batches(self, texts: Sequence[str]) -> Iterator[Array]:
        for text in texts:
            yield self.embed([text])

    def embed(self, texts: Sequence[str]) -> Array:
        vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
        for row, text in enumerate(texts):
            vectors[row, sum(text.encode()) % DIMENSIONS] = 1
        return vectors


def run(call: Iterator[Any]) -> tuple[list[Any], Any]:
    """What a generator yields, and what it returns."""
    items = []
    while True:
        try:
            items.append(next(call))
        except StopIteration as end:
            return items, end.value


class ControllerCase(unittest.TestCase):
    model: Any

    @classmethod
    def setUpClass(cls) -> None:
        cls.model = Quick()

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = Path(temporary.name).resolve()
        self.corpus = self.base / "corpus"
        for name, text in CORPUS.items():
            self.write(name, text)
        self.controller = self.start()

    def start(self) -> Controller:
        started = Controller()
        started.index_path = str(self.base / "index" / "index.safetensors")
        with mock.patch.object(Model, "load", return_value=self.model):
            started.on_start()
        return started

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.corpus / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def index(self, **params: Any) -> dict[str, Any]:
        summary: dict[str, Any] = run(self.controller.index(str(self.corpus), **params))[1]
        return summary

    def files(self, started: Controller | None = None) -> set[str]:
        """What is in the index, relative to the corpus."""
        store = (started or self.controller)._store
        return {os.path.relpath(d.path, self.corpus) for d in store.under(self.base)}


class IndexTest(ControllerCase):
    def test_progress_and_summary(self) -> None:
        progress, summary = run(self.controller.index(str(self.corpus)))
        names = ["weather.md", "food/pasta.txt", "src/sort.py"]
        self.assertEqual(
            progress,
            [
                {"done": n, "total": 3, "file": str(self.corpus / name), "passages": n}
                for n, name in enumerate(names, start=1)
            ],
        )
        self.assertGreaterEqual(summary.pop("seconds"), 0)
        self.assertEqual(
            summary,
            {
                "folder": str(self.corpus),
                "files": 3,
                "passages": 3,
                "embedded": 3,
                "removed": 0,
                "skipped": 0,
            },
        )

    def test_what_has_not_changed_is_not_read_again(self) -> None:
        self.index()
        with mock.patch.object(controller, "_text", side_effect=AssertionError):
            self.assertEqual(self.index()["embedded"], 0)
        self.assertEqual(self.index(force=True)["embedded"], 3)

    def test_a_touched_file_is_read_but_not_embedded(self) -> None:
        self.index()
        os.utime(self.corpus / "weather.md", (1, 1))
        with mock.patch.object(self.model, "batches", side_effect=AssertionError):
            self.assertEqual(self.index()["embedded"], 0)
            with mock.patch.object(controller, "_text", side_effect=AssertionError):
                self.index()

    def test_changes(self) -> None:
        self.index()
        self.write("weather.md", "# Weather\n\nSunshine.\n")
        self.write("new.txt", "something new")
        (self.corpus / "food/pasta.txt").unlink()
        summary = self.index()
        self.assertEqual((summary["embedded"], summary["removed"], summary["files"]), (2, 1, 3))
        self.assertEqual(self.files(), {"weather.md", "new.txt", "src/sort.py"})
        texts = [d.passages[0].text for d in self.controller._store.under(self.corpus)]
        self.assertIn("# Weather\n\nSunshine.", texts)

    def test_a_file_that_is_no_text_any_more_leaves(self) -> None:
        self.index()
        self.write("weather.md", b"\0\1\2")
        summary = self.index()
        self.assertEqual((summary["removed"], summary["skipped"]), (1, 1))
        self.assertNotIn("weather.md", self.files())

    def test_what_is_left_out(self) -> None:
        self.write(".git/config", "text")
        self.write("node_modules/x/index.js", "text")
        self.write("deep/target/debug/log.txt", "text")
        self.write("my-env/pyvenv.cfg", "home = /")
        self.write("my-env/lib/x.py", "text")
        self.write("cache/CACHEDIR.TAG", "Signature")
        self.write("cache/x.txt", "text")
        self.write("Cargo.lock", "text")
        self.write("package-lock.json", "{}")
        self.write("binary.bin", b"\x7fELF\0\0")
        self.write("latin1.txt", b"caf\xe9")
        self.write("empty.txt", b"")
        self.write("large.txt", "x " * (controller.MAX_FILE_BYTES // 2) + "x")
        (self.corpus / "link.md").symlink_to("weather.md")
        (self.corpus / "loop").symlink_to(".")
        os.mkfifo(self.corpus / "pipe")
        (self.corpus / os.fsdecode(b"bad-\xff.txt")).write_text("text")
        summary = self.index()
        self.assertEqual(self.files(), set(CORPUS))
        self.assertEqual(summary["skipped"], 2)

    def test_a_folder_can_be_indexed_that_is_a_cache(self) -> None:
        # The rule is for the folders inside; the one that was asked for was asked for.
        self.write("CACHEDIR.TAG", "Signature")
        self.assertEqual(self.index()["files"], 4)

    def test_a_byte_order_mark_is_no_text(self) -> None:
        path = self.write("bom.txt", b"\xef\xbb\xbfhello")
        self.index()
        document = self.controller._store.get(str(path))
        assert document is not None
        self.assertEqual(document.passages[0].text, "hello")

    def test_two_folders_share_an_index(self) -> None:
        run(self.controller.index(str(self.corpus / "food")))
        summary = run(self.controller.index(str(self.corpus / "src")))[1]
        self.assertEqual((summary["files"], len(self.files())), (1, 2))

    def test_a_folder_that_is_not_there(self) -> None:
        for folder, problem in (
            (str(self.base / "missing"), "does not exist"),
            (str(self.corpus / "weather.md"), "is no folder"),
            (5, "folder is a string, not int"),
            ("a\ud800", "surrogate"),
        ):
            with self.subTest(folder=folder), self.assertRaisesRegex(ValueError, problem):
                run(self.controller.index(folder))  # type: ignore[arg-type]

    def test_too_many_files(self) -> None:
        with (
            mock.patch.object(controller, "MAX_FILES", 2),
            self.assertRaisesRegex(ValueError, "more than 2 files"),
        ):
            self.index()

    def test_a_long_file_pauses_between_batches(self) -> None:
        text = "\n\n".join("word " * 150 for _ in range(4))
        self.write("weather.md", text)
        progress = run(self.controller.index(str(self.corpus)))[0]
        self.assertEqual(
            [(p["done"], p["passages"]) for p in progress],
            [(0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 6)],
        )

    def test_two_calls_take_turns(self) -> None:
        first, second = (self.controller.index(str(self.corpus)) for _ in range(2))
        next(first)
        self.assertEqual(run(second)[1]["embedded"], 2)
        # The second call has done what the first was going to do.
        self.assertEqual(run(first)[1]["embedded"], 1)
        self.assertEqual(self.files(), set(CORPUS))

    def test_a_search_between_two_steps_sees_whole_files(self) -> None:
        call = self.controller.index(str(self.corpus))
        for number in range(1, 4):
            next(call)
            self.assertEqual(len(run(self.controller.search("rain", 9))[0]), number)


class CancelTest(ControllerCase):
    def test_cancelled_at_a_yield(self) -> None:
        call = self.controller.index(str(self.corpus))
        next(call)
        next(call)
        with self.assertRaises(Cancelled):
            call.throw(Cancelled())
        # What was done is kept, on disk too, and is not done again.
        self.assertEqual(self.files(self.start()), {"weather.md", "food/pasta.txt"})
        self.assertEqual(self.index()["embedded"], 1)

    def test_closed_at_a_yield(self) -> None:
        call = self.controller.index(str(self.corpus))
        next(call)
        call.close()
        self.assertEqual(self.files(self.start()), {"weather.md"})

    def test_cancelled_at_any_line(self) -> None:
        """The signal may come between any two bytecodes: it is made to come at every line."""
        self.index()
        complete = self.files() - {"food/pasta.txt"} | {"new.txt"}
        saved = self.base / "saved"
        shutil.copytree(self.base / "index", saved)
        self.write("weather.md", "# Weather\n\nSunshine.\n\n" + "word " * 300)
        self.write("new.txt", "something new")
        (self.corpus / "food/pasta.txt").unlink()
        line = 0
        cancelled = True
        while cancelled:
            line += 1
            shutil.rmtree(self.base / "index")
            shutil.copytree(saved, self.base / "index")
            self.controller = self.start()
            cancelled = at_line(line, lambda: run(self.controller.index(str(self.corpus))))
            with self.subTest(line=line), self.assertNoLogs("semantic_search"):
                self.check(self.controller._store)
                self.check(self.start()._store)
                self.index()
                self.assertEqual(self.files(), complete)
                self.assertEqual(self.files(self.start()), complete)
        self.assertGreater(line, 100)

    def check(self, store: Store) -> None:
        total = 0
        for document in store.under(self.base):
            self.assertEqual(len(document.passages), len(document.vectors))
            for number, passage in enumerate(document.passages):
                expected = self.model.embed([passage.embedded])[0]
                np.testing.assert_array_equal(document.vectors[number], expected)
            total += len(document.passages)
        self.assertEqual(len(store.nearest(self.model.embed(["x"])[0], 99)), total)


def at_line(count: int, call: Callable[[], object]) -> bool:
    """Runs that, cancels it at so many lines of the controller's code; whether it got that far."""
    ours = {controller.__file__, sys.modules["store"].__file__}
    left = count

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in ours:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Cancelled
        return trace

    before = sys.gettrace()
    with warnings.catch_warnings():
        # A file that was opened in the line that is cut short is closed when it is collected.
        warnings.simplefilter("ignore", ResourceWarning)
        sys.settrace(trace)
        try:
            call()
        except Cancelled:
            return True
        finally:
            sys.settrace(before)
    return False


class MethodsTest(ControllerCase):
    """With the model itself."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.model = Model.load()

    def test_search_finds_by_meaning_best_first(self) -> None:
        self.index()
        for query, file in (
            ("weather forecast", "weather.md"),
            ("a recipe for dinner", "food/pasta.txt"),
            ("algorithm that puts a list in order", "src/sort.py"),
        ):
            hits = list(self.controller.search(query, 3))
            with self.subTest(query=query):
                self.assertEqual(hits[0]["file"], str(self.corpus / file))
                scores = [hit["score"] for hit in hits]
                self.assertEqual(scores, sorted(scores, reverse=True))
                self.assertGreater(scores[0], scores[1] + 0.1)
        self.assertEqual(
            hits[0] | {"score": 0},
            {
                "score": 0,
                "file": str(self.corpus / "src/sort.py"),
                "line": 1,
                "text": CORPUS["src/sort.py"].rstrip(),
            },
        )
        self.assertEqual(len(list(self.controller.search("food", k=1))), 1)

    def test_the_index_outlives_the_process(self) -> None:
        self.index()
        again = self.start()
        self.assertEqual(list(again.search("rain", 3)), list(self.controller.search("rain", 3)))

    def test_a_reload_hands_the_index_over(self) -> None:
        new = self.start()
        self.index()
        new.on_restore(self.controller.on_snapshot())
        self.assertEqual(new.stats()["files"], 3)

    def test_another_index_path(self) -> None:
        self.index()
        self.controller.index_path = str(self.base / "other.safetensors")
        self.assertEqual(self.controller.stats()["files"], 0)
        with self.assertRaisesRegex(ValueError, "call `index` with a folder first"):
            list(self.controller.search("rain"))
        self.controller.index_path = str(self.base / "index" / "index.safetensors")
        self.assertEqual(self.controller.stats()["files"], 3)
        self.controller.index_path = 5  # type: ignore[assignment]
        with self.assertRaisesRegex(ValueError, "index_path is the path of a file, not 5"):
            self.controller.stats()

    def test_similarity(self) -> None:
        self.assertGreaterEqual(self.controller.similarity("a cat", "a kitten"), 0.5)
        same = self.controller.similarity("the same", "the same")
        self.assertTrue(0.99999 < same <= 1)

    def test_embed(self) -> None:
        vectors = self.controller.embed(["one", "two"])
        self.assertEqual([len(vector) for vector in vectors], [DIMENSIONS] * 2)
        self.assertAlmostEqual(sum(x * x for x in vectors[0]), 1, delta=1e-5)
        self.assertEqual(self.controller.embed([]), [])

    def test_stats(self) -> None:
        self.index()
        stats = self.controller.stats()
        self.assertEqual((stats["files"], stats["passages"], stats["dimensions"]), (3, 3, 384))

    def test_bad_input(self) -> None:
        self.index()
        methods: dict[str, Any] = {
            name: getattr(self.controller, name) for name in ("search", "embed", "similarity")
        }
        for name, arguments, problem in (
            ("search", ("",), "query is empty"),
            ("search", (" \n",), "query is empty"),
            ("search", (7,), "query is a string, not int"),
            ("search", ("x", 0), "from 1 to 1000, not 0"),
            ("search", ("x", True), "not True"),
            ("search", ("x", "5"), "not '5'"),
            ("search", ("x", 1001), "not 1001"),
            ("search", ("\ud800",), "surrogate"),
            ("embed", ("text",), "a list of strings, not str"),
            ("embed", (["a", None],), r"texts\[1\] is a string, not NoneType"),
            ("embed", (["a"] * 1001,), "1001 texts are too many"),
            ("similarity", ("a", ["b"]), "b is a string, not list"),
        ):
            with (
                self.subTest(name=name, arguments=str(arguments)[:40]),
                self.assertRaisesRegex(ValueError, problem),
            ):
                list(methods[name](*arguments))

    def test_real_files(self) -> None:
        """A corpus that nobody made for the test: the example itself, without the queries here."""
        shutil.copytree(
            EXAMPLE, self.corpus, ignore=shutil.ignore_patterns("tests"), dirs_exist_ok=True
        )
        summary = self.index()
        self.assertGreater(summary["passages"], 30)
        for query, file in (
            ("gaussian error linear unit activation", "model.py"),
            ("split a file into paragraphs under their headings", "passages.py"),
            ("write the index atomically to disk", "store.py"),
        ):
            found = {os.path.basename(hit["file"]) for hit in self.controller.search(query, 3)}
            with self.subTest(query=query):
                self.assertIn(file, found)

    def test_a_batch_is_short_enough_to_take_turns(self) -> None:
        self.assertLessEqual(BATCH_TOKENS, 1024)


class PlacesTest(unittest.TestCase):
    def test_the_cache_folder(self) -> None:
        for value, expected in (
            ("/somewhere", "/somewhere"),
            ("relative", "/home/me/.cache"),
            ("", "/home/me/.cache"),
        ):
            with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": value, "HOME": "/home/me"}):
                self.assertEqual(
                    Controller().index_path, f"{expected}/baskd/semantic_search/index.safetensors"
                )


if __name__ == "__main__":
    unittest.main()
