"""The index: what was embedded of which file, in memory and in one file on disk.

It changes a document at a time, each time by one assignment, because `baskd.Cancelled` may be
raised between any two steps of the call that changes it: a search sees a document as it was or as
it is. On disk the same holds for the whole: a new file is written and takes the old one's place.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import logging
import os
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from model import Array, joined
from passages import VERSION, Passage

log = logging.getLogger("semantic_search")

FORMAT = 1


class Document(NamedTuple):
    path: str
    size: int
    mtime_ns: int
    digest: str
    passages: tuple[Passage, ...]
    vectors: Array
    """A row of length 1 for each passage."""


class Hit(NamedTuple):
    score: float
    path: str
    passage: Passage


class _Stacked(NamedTuple):
    """All documents' vectors in one matrix, so that a search is one product."""

    matrix: Array
    documents: list[Document]
    starts: list[int]
    """The row where each document begins."""


class Store:
    """`Store.open(path, probe)`, then `put`, `drop`, `nearest` and `save`."""

    def __init__(self, path: Path, probe: Array) -> None:
        self.path = path
        # The vector of one fixed sentence. Vectors of another model can't be compared with this
        # one's, and by this a file of such is known.
        self._probe = probe
        self._documents: dict[str, Document] = {}
        self._stacked: _Stacked | None = None
        self._saved = True

    @classmethod
    def open(cls, path: Path, probe: Array) -> Store:
        """The index in that file; empty where there is none, or one that can't be used."""
        store = cls(path, probe)
        try:
            store._read()
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            # An index is made of files that are still there: it is made again, not repaired.
            log.warning(
                "the index %s can't be used (%s): starting an empty one, call `index` to fill it",
                path,
                error,
            )
            store._documents = {}
        return store

    def __len__(self) -> int:
        return len(self._documents)

    @property
    def passages(self) -> int:
        return sum(len(document.passages) for document in self._documents.values())

    def get(self, path: str) -> Document | None:
        return self._documents.get(path)

    def under(self, folder: Path) -> Iterator[Document]:
        """The documents inside that folder."""
        inside = os.path.join(folder, "")
        return (doc for path, doc in list(self._documents.items()) if path.startswith(inside))

    def put(self, document: Document) -> None:
        """Takes a document in, instead of what was known of its file before."""
        self._stacked = None
        self._saved = False
        self._documents[document.path] = document

    def drop(self, path: str) -> None:
        self._stacked = None
        self._saved = False
        self._documents.pop(path, None)

    def nearest(self, vector: Array, k: int) -> list[Hit]:
        """The k passages most similar to that vector, best first; of equals, the first taken in."""
        stacked = self._stack()
        scores = stacked.matrix @ vector
        hits = []
        for row in np.argsort(-scores, kind="stable")[:k].tolist():
            # A document without passages begins in the same row as the next one, which is the last
            # that begins there.
            number = bisect.bisect_right(stacked.starts, row) - 1
            document = stacked.documents[number]
            passage = document.passages[row - stacked.starts[number]]
            hits.append(Hit(float(scores[row]), document.path, passage))
        return hits

    def save(self) -> None:
        """Writes the index to disk, if it has changed since.

        Only its owner can read the file (`mkstemp` sees to that): it holds the texts of others.
        """
        if self._saved:
            return
        stacked = self._stack()
        meta = json.dumps(
            [(d.path, d.size, d.mtime_ns, d.digest, d.passages) for d in stacked.documents]
        ).encode()
        data = safetensors.numpy.save(
            {
                "vectors": stacked.matrix,
                "documents": np.frombuffer(meta, np.uint8),
                "probe": self._probe,
            },
            metadata={
                "format": f"{FORMAT}.{VERSION}",
                "crc32": str(_crc32(stacked.matrix, meta)),
            },
        )
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(".new", f"{self.path.name}.", self.path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self._saved = True
        self._sweep()

    def _sweep(self) -> None:
        """Removes what a process left that was killed while it wrote."""
        for left in self.path.parent.glob(f"{self.path.name}.*.new"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > 3600:
                    left.unlink()

    def _read(self) -> None:
        with safetensors.safe_open(self.path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != f"{FORMAT}.{VERSION}":
                raise ValueError("it was made by another version")
            tensors = file.get_tensors()
        matrix, meta = tensors["vectors"], tensors["documents"].tobytes()
        if metadata["crc32"] != str(_crc32(matrix, meta)):
            raise ValueError("its checksum does not match")
        # Two builds of BLAS differ in the seventh digit, two models in the first.
        if not np.allclose(tensors["probe"], self._probe, atol=1e-3):
            raise ValueError("it was made with another model")
        start = 0
        for path, size, mtime_ns, digest, rows in json.loads(meta):
            passages = tuple(Passage(*row) for row in rows)
            vectors = matrix[start : start + len(passages)]
            self._documents[path] = Document(path, size, mtime_ns, digest, passages, vectors)
            start += len(passages)

    def _stack(self) -> _Stacked:
        if self._stacked is None:
            documents = list(self._documents.values())
            matrix = joined(document.vectors for document in documents)
            starts, start = [], 0
            for number, document in enumerate(documents):
                starts.append(start)
                end = start + len(document.passages)
                # The rows in the matrix become the document's own, so that there is one copy.
                documents[number] = document._replace(vectors=matrix[start:end])
                start = end
            self._documents = {document.path: document for document in documents}
            self._stacked = _Stacked(matrix, documents, starts)
        return self._stacked


def _crc32(matrix: Array, meta: bytes) -> int:
    return zlib.crc32(np.ascontiguousarray(matrix).data, zlib.crc32(meta))
