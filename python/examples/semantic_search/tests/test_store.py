"""The index in memory and on disk."""

import json
import os
import stat
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import safetensors.numpy

import store
from model import DIMENSIONS, Array
from passages import Passage
from store import Document, Store


def axis(number: int) -> Array:
    vector = np.zeros(DIMENSIONS, np.float32)
    vector[number] = 1
    return vector


PROBE = axis(7)


def document(path: str, *axes: int) -> Document:
    passages = tuple(Passage(line, f"{path} {axis}", "") for line, axis in enumerate(axes, start=1))
    vectors = np.array([axis(number) for number in axes], np.float32).reshape(-1, DIMENSIONS)
    return Document(path, 10, 123_456_789_012_345_678, "d", passages, vectors)


class StoreTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "inner" / "index.safetensors"

    def open(self) -> Store:
        return Store.open(self.path, PROBE)

    def filled(self) -> Store:
        filled = self.open()
        for path, axes in (("/a/1", (0, 1)), ("/a/2", ()), ("/ab/3", (2,))):
            filled.put(document(path, *axes))
        return filled

    def found(self, index: Store, number: int, k: int = 1) -> list[str]:
        return [hit.passage.text for hit in index.nearest(axis(number), k)]

    def test_nearest(self) -> None:
        index = self.filled()
        self.assertEqual(self.found(index, 1), ["/a/1 1"])
        self.assertEqual(self.found(index, 2), ["/ab/3 2"])
        # Of equals, the one taken in first; and no more than there are.
        self.assertEqual(self.found(index, 9, 9), ["/a/1 0", "/a/1 1", "/ab/3 2"])
        hit = index.nearest(axis(2), 1)[0]
        self.assertEqual((hit.score, hit.path, hit.passage.line), (1.0, "/ab/3", 1))

    def test_an_empty_index_finds_nothing(self) -> None:
        self.assertEqual(self.open().nearest(axis(0), 3), [])

    def test_changes_are_found(self) -> None:
        index = self.filled()
        self.found(index, 0)
        index.put(document("/a/1", 5))
        self.assertEqual(self.found(index, 5), ["/a/1 5"])
        index.drop("/a/1")
        self.assertEqual(self.found(index, 5, 9), ["/ab/3 2"])
        self.assertEqual((len(index), index.passages), (2, 1))

    def test_under_is_by_folder(self) -> None:
        self.assertEqual([d.path for d in self.filled().under(Path("/a"))], ["/a/1", "/a/2"])
        self.assertEqual(len(list(self.filled().under(Path("/")))), 3)

    def test_what_is_saved_is_read_again(self) -> None:
        index = self.filled()
        index.put(document("/\ud800 and \N{SNOWMAN}", 3))
        index.save()
        again = self.open()
        for before, after in zip(index.under(Path("/")), again.under(Path("/")), strict=True):
            self.assertEqual(before[:-1], after[:-1])
            np.testing.assert_array_equal(before.vectors, after.vectors)
        self.assertEqual(self.found(again, 3), ["/\ud800 and \N{SNOWMAN} 3"])

    def test_only_the_owner_can_read_it(self) -> None:
        self.filled().save()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.path.parent.stat().st_mode), 0o700)

    def test_nothing_is_written_when_nothing_changed(self) -> None:
        self.filled().save()
        before = self.path.stat().st_ino
        self.open().save()
        self.assertEqual(self.path.stat().st_ino, before)

    def test_a_save_that_fails_leaves_the_file_and_nothing_beside_it(self) -> None:
        index = self.filled()
        index.save()
        before = self.path.read_bytes()
        index.drop("/a/1")
        for step in ("os.fsync", "os.replace"):
            with (
                self.subTest(step=step),
                mock.patch(step, side_effect=KeyboardInterrupt),
                self.assertRaises(KeyboardInterrupt),
            ):
                index.save()
        self.assertEqual(self.path.read_bytes(), before)
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])
        # It is still known to be unsaved.
        index.save()
        self.assertEqual(len(self.open()), 2)

    def test_what_a_killed_process_left_is_removed_later(self) -> None:
        index = self.filled()
        index.save()
        old, new = (Path(f"{self.path}.{name}.new") for name in ("old", "now"))
        old.touch()
        new.touch()
        os.utime(old, (0, 0))
        index.drop("/a/1")
        index.save()
        self.assertEqual((old.exists(), new.exists()), (False, True))

    def refused(self, reason: str) -> None:
        """Opening says why, starts empty, and the next save heals."""
        with self.assertLogs("semantic_search", "WARNING") as logs:
            index = self.open()
        self.assertRegex(logs.output[0], reason)
        self.assertEqual(len(index), 0)
        index.put(document("/new", 4))
        index.save()
        self.assertEqual(self.found(self.open(), 4), ["/new 4"])

    def test_a_torn_file(self) -> None:
        self.filled().save()
        whole = self.path.read_bytes()
        for size in (0, 7, 40, len(whole) // 2, len(whole) - 1):
            with self.subTest(size=size):
                self.path.write_bytes(whole[:size])
                self.refused("can't be used")

    def test_a_changed_byte(self) -> None:
        self.filled().save()
        whole = bytearray(self.path.read_bytes())
        for at in (len(whole) - 5, len(whole) - 2000):
            with self.subTest(at=at):
                self.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
                self.refused("checksum|can't be used")

    def test_another_file(self) -> None:
        self.path.parent.mkdir(parents=True)
        for content in (b"not an index", json.dumps({"a": 1}).encode(), b"\0" * 100):
            with self.subTest(content=content):
                self.path.write_bytes(content)
                self.refused("can't be used")
        self.path.write_bytes(safetensors.numpy.save({"x": axis(0)}))
        self.refused("another version")

    def test_another_version(self) -> None:
        self.filled().save()
        with mock.patch.object(store, "FORMAT", store.FORMAT + 1):
            self.refused("another version")

    def test_another_model(self) -> None:
        other = Store(self.path, axis(8))
        other.put(document("/a", 1))
        other.save()
        self.refused("another model")

    def test_a_folder_in_its_place(self) -> None:
        self.path.mkdir(parents=True)
        with self.assertLogs("semantic_search", "WARNING"):
            index = self.open()
        index.put(document("/a", 1))
        with self.assertRaises(OSError):
            index.save()


if __name__ == "__main__":
    unittest.main()
