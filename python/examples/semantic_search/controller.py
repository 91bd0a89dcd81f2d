"""Semantic search over a folder of text: what baskd is for, in one controller.

Loading a model takes longer than most questions to it. Here it is loaded once, with the index, and
any number of programs ask: `index` reads a folder, `search` finds passages by what they mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from basecontroller import BaseController

from model import DIMENSIONS, MAX_TOKENS, PACKAGE, Array, Model, joined
from passages import split
from store import Document, Store

MAX_FILE_BYTES = 1 << 20
# Beyond these it is more likely a mistake (`folder=/`) than a wish; and a call of a plain method
# keeps all others waiting.
MAX_FILES = 20_000
MAX_TEXTS = 1_000
MAX_HITS = 1_000

SKIPPED_FOLDERS = {".git", ".hg", ".svn", "__pycache__", "node_modules", "target"}
# A cache says that it is one (cargo's, ruff's and mypy's do), and so does a venv.
SKIPPED_IF_INSIDE = {"CACHEDIR.TAG", "pyvenv.cfg"}
# Text by its bytes, but written by programs for programs.
SKIPPED_NAMES = ("-lock.json", "-lock.yaml", ".lock", ".map", ".min.css", ".min.js", ".svg")

# An index that takes minutes survives a crash but for these last seconds of work.
SAVE_EVERY = 10.0


class Controller(BaseController):
    """Finds passages of text files by meaning."""

    def __init__(self) -> None:
        # A property: `baskd set index_path FILE` has every later call use that index instead.
        self.index_path = str(_cache() / "index.safetensors")

    def on_start(self) -> None:
        self._model = Model.load()
        # The first call into a model is its slowest, so it is made here. What it returns tells
        # this model's indexes from another's.
        self._probe = self._model.embed(["The quick brown fox jumps over the lazy dog."])[0]
        self._store = Store.open(Path(self.index_path), self._probe)

    def on_snapshot(self) -> dict[str, Any]:
        self._store.save()
        return {}

    def on_restore(self, state: dict[str, Any]) -> None:
        # This process read the index when it started; the one before it may have added to it since.
        self._store = Store.open(Path(self.index_path), self._probe)

    def index(
        self, folder: str, force: bool = False
    ) -> Generator[dict[str, Any], None, dict[str, Any]]:
        """Takes the text files of a folder into the index, and lets go of those that are gone.

        Files that have not changed since are not read again, unless `force` is true. Reports its
        progress in files: `{"done", "total", "file", "passages"}`. A call that is cancelled keeps
        the files that were done. A relative folder starts where the daemon was started.
        """
        started = time.monotonic()
        root = _folder(folder)
        store = self._opened()
        found = list(islice(_text_files(root), MAX_FILES + 1))
        if len(found) > MAX_FILES:
            raise ValueError(
                f"{root} holds more than {MAX_FILES} files: index a folder inside it instead"
            )
        waiting = [file for file in found if force or not _same_stamp(store.get(file.path), file)]
        summary = {"embedded": 0, "removed": 0, "skipped": 0}
        passages = 0
        saved = started
        try:
            here = {file.path for file in found}
            for document in store.under(root):
                if document.path not in here:
                    store.drop(document.path)
                    summary["removed"] += 1
            for done, file in enumerate(waiting, start=1):
                progress = {"total": len(waiting), "file": file.path}
                text = _text(file.path)
                if text is None:
                    summary["skipped"] += 1
                    if store.get(file.path):
                        store.drop(file.path)
                        summary["removed"] += 1
                    continue
                digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
                known = store.get(file.path)
                if known and known.digest == digest and not force:
                    # Touched, or checked out again: the passages are those that it had.
                    store.put(known._replace(size=file.size, mtime_ns=file.mtime_ns))
                    continue
                parts = split(text, self._model.count, markdown=file.path.endswith(".md"))
                vectors: list[Array] = []
                embedded = 0
                for batch in self._model.batches([part.embedded for part in parts]):
                    # Between the batches of a long file others get their turn.
                    if embedded:
                        yield {"done": done - 1, **progress, "passages": passages + embedded}
                    vectors.append(batch)
                    embedded += len(batch)
                store.put(Document(*file, digest, tuple(parts), joined(vectors)))
                summary["embedded"] += 1
                passages += len(parts)
                yield {"done": done, **progress, "passages": passages}
                if time.monotonic() - saved > SAVE_EVERY:
                    store.save()
                    saved = time.monotonic()
        finally:
            # Also when it was cancelled, and when its connection was lost.
            store.save()
        kept = list(store.under(root))
        return {
            "folder": str(root),
            "files": len(kept),
            "passages": sum(len(document.passages) for document in kept),
            **summary,
            "seconds": round(time.monotonic() - started, 3),
        }

    def search(self, query: str, k: int = 5) -> Iterator[dict[str, Any]]:
        """The k passages nearest to the query in meaning, best first.

        Yields `{"score", "file", "line", "text"}`; the score is the cosine of the two vectors,
        1 at most, and the file an absolute path.
        """
        _check_text(query, "query")
        if not query.strip():
            raise ValueError("the query is empty: say in words what to look for")
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_HITS:
            raise ValueError(f"k is how many passages to find, from 1 to {MAX_HITS}, not {k!r}")
        store = self._opened()
        if not len(store):
            raise ValueError("nothing is indexed yet: call `index` with a folder first")
        for hit in store.nearest(self._model.embed([query])[0], k):
            yield {
                "score": round(hit.score, 4),
                "file": hit.path,
                "line": hit.passage.line,
                "text": hit.passage.text,
            }

    def embed(self, texts: list[str]) -> list[list[float]]:
        """The texts' vectors: 384 numbers each, of length 1, in order."""
        if not isinstance(texts, list):
            raise ValueError(f"texts is a list of strings, not {type(texts).__name__}")
        if len(texts) > MAX_TEXTS:
            raise ValueError(f"{len(texts)} texts are too many for one call: at most {MAX_TEXTS}")
        for number, text in enumerate(texts):
            _check_text(text, f"texts[{number}]")
        vectors: list[list[float]] = self._model.embed(texts).tolist()
        return vectors

    def similarity(self, a: str, b: str) -> float:
        """How near two texts are in meaning: the cosine of their vectors, 1 for the same text."""
        _check_text(a, "a")
        _check_text(b, "b")
        # Both in one batch; rounding may put the product of equal vectors a little above 1.
        first, second = self._model.embed([a, b])
        return min(1.0, float(first @ second))

    def stats(self) -> dict[str, Any]:
        """What the index holds, and which model made it."""
        store = self._opened()
        return {
            "files": len(store),
            "passages": store.passages,
            "index_path": str(store.path),
            "model": PACKAGE,
            "dimensions": DIMENSIONS,
            "max_tokens": MAX_TOKENS,
        }

    def _opened(self) -> Store:
        """The index at `index_path`, which may have been set since the last call."""
        if not isinstance(self.index_path, str) or not self.index_path:
            raise ValueError(f"index_path is the path of a file, not {self.index_path!r}")
        path = Path(self.index_path).expanduser()
        if path != self._store.path:
            self._store = Store.open(path, self._probe)
        return self._store


class _File(NamedTuple):
    path: str
    size: int
    mtime_ns: int


def _same_stamp(document: Document | None, file: _File) -> bool:
    return document is not None and (document.size, document.mtime_ns) == (file.size, file.mtime_ns)


def _folder(folder: str) -> Path:
    _check_text(folder, "folder")
    path = Path(os.path.realpath(os.path.expanduser(folder)))
    if not path.is_dir():
        problem = "is no folder" if path.exists() else "does not exist"
        raise ValueError(
            f"{path} {problem}: a relative path starts where the daemon was started, {Path.cwd()}"
        )
    return path


def _text_files(root: Path) -> Iterator[_File]:
    """The files that may be text, by name and size, in the order of their paths."""
    for folder, folders, names in os.walk(root):
        if folder != str(root) and not SKIPPED_IF_INSIDE.isdisjoint(names):
            folders.clear()
            continue
        folders[:] = sorted(set(folders) - SKIPPED_FOLDERS)
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.endswith(SKIPPED_NAMES) or not _encodable(path):
                continue
            # A file may be gone again by now. A link would be read twice, and a pipe has no end.
            with contextlib.suppress(OSError):
                status = os.stat(path, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and 0 < status.st_size <= MAX_FILE_BYTES:
                    yield _File(path, status.st_size, status.st_mtime_ns)


def _text(path: str) -> str | None:
    """What is in the file, if that is text."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES)
        return None if b"\0" in data else data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None


def _check_text(value: object, name: str) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name} is a string, not {type(value).__name__}")
    if not _encodable(value):
        raise ValueError(f"{name} has half of a surrogate pair in it, which is no character")


def _encodable(text: str) -> bool:
    """Whether that is Unicode: JSON, and a file's name, can hold what is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says to ignore a relative one.
    folder = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return folder / "baskd" / "semantic_search"
