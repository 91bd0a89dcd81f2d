"""Where passages begin and end."""

import unittest
from collections.abc import Sequence

from passages import ENOUGH, MOST, Passage, split


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def prose(count: int) -> str:
    return " ".join(f"w{number}" for number in range(count))


class SplitTest(unittest.TestCase):
    def split(self, text: str, *, markdown: bool = False) -> list[Passage]:
        return split(text, words, markdown=markdown)

    def test_a_short_text_is_one_passage(self) -> None:
        self.assertEqual(
            self.split("one\n\ntwo\r\n"),
            [Passage(1, "one\n\ntwo", "")],
        )

    def test_nothing_to_say(self) -> None:
        for text in ("", "\n\n", "---\n\n}\n"):
            self.assertEqual(self.split(text), [])

    def test_lines_are_those_of_an_editor(self) -> None:
        text = f"one \x0c and \u2028 two\n\n{prose(MOST)}"
        self.assertEqual([passage.line for passage in self.split(text)], [1, 3])

    def test_a_paragraph_at_the_margin_begins_a_passage_once_there_is_enough(self) -> None:
        some, more = prose(ENOUGH - 1), prose(ENOUGH)
        self.assertEqual([p.line for p in self.split(f"{more}\n\n{some}")], [1, 3])
        self.assertEqual([p.line for p in self.split(f"{some}\n\n{some}")], [1])
        # What is indented continues a definition.
        self.assertEqual([p.line for p in self.split(f"{more}\n\n    {some}")], [1])

    def test_no_passage_is_too_long_and_none_loses_a_word(self) -> None:
        lines = [prose(30), *(prose(90) for _ in range(9)), prose(5 * MOST), prose(3)]
        for text in ("\n".join(lines), "\n\n".join(lines)):
            found = self.split(text)
            self.assertLessEqual(max(words([p.text for p in found])), MOST)
            self.assertEqual(" ".join(p.text for p in found).split(), text.split())

    def test_a_line_without_blanks_is_cut(self) -> None:
        def characters(texts: Sequence[str]) -> list[int]:
            return [len(text) for text in texts]

        found = split("x" * 1000, characters, markdown=False)
        self.assertEqual("".join(p.text for p in found).replace("\n", ""), "x" * 1000)
        self.assertLessEqual(max(len(p.text) for p in found), MOST)
        self.assertEqual({p.line for p in found}, {1})

    def test_headings(self) -> None:
        text = "# Guide\n\nintro\n\n## Install\n\nsteps\n\n### Linux ##\n\napt\n\n## Use\nrun\n"
        self.assertEqual(
            self.split(text, markdown=True),
            [
                Passage(1, "# Guide\n\nintro", ""),
                Passage(5, "## Install\n\nsteps", "Guide"),
                Passage(9, "### Linux ##\n\napt", "Guide\nInstall"),
                Passage(13, "## Use\nrun", "Guide"),
            ],
        )

    def test_a_long_section_keeps_its_heading(self) -> None:
        found = self.split(f"# Guide\n\n{prose(MOST)}\n\n{prose(MOST - 1)}", markdown=True)
        self.assertEqual(found[-1].headings, "Guide")
        self.assertEqual(found[-1].embedded, f"Guide\n{found[-1].text}")

    def test_a_heading_stays_with_what_follows(self) -> None:
        found = self.split(f"# Guide\n## Install\n\n{prose(20)}", markdown=True)
        self.assertEqual([p.line for p in found], [1])

    def test_a_comment_in_a_fence_is_no_heading(self) -> None:
        text = "# Guide\n```sh\n# not a heading\nls\n```\n"
        self.assertEqual([p.line for p in self.split(text, markdown=True)], [1])

    def test_source_has_no_headings(self) -> None:
        self.assertEqual(len(self.split("# one\nx = 1\n# two\ny = 2\n")), 1)


if __name__ == "__main__":
    unittest.main()
