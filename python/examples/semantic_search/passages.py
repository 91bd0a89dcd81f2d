"""Splits a document or a source file into passages: the pieces that are embedded and found.

A passage is long enough to say something and short enough that the model reads all of it. It begins
where a reader would begin: at a heading, a paragraph, a definition at the margin; in the middle of
one only if that is too long by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

# To be raised when the same file is split differently than before: a saved index says which it has.
VERSION = 1

# In tokens, of which the model reads 256: a passage's headings and the two tokens around a text
# come on top.
MOST = 200
ENOUGH = 100

Count = Callable[[Sequence[str]], list[int]]

_HEADING = re.compile(r"(#{1,6})\s+(.*?)[\s#]*$")
_FENCE = re.compile(r"\s{0,3}(```|~~~)")


class Passage(NamedTuple):
    line: int
    """Where it begins, from 1."""
    text: str
    headings: str
    """The headings it stands under in a Markdown file, outermost first, but for those in `text`."""

    @property
    def embedded(self) -> str:
        """What the model is given: a paragraph may only make sense under its headings."""
        return f"{self.headings}\n{self.text}" if self.headings else self.text


class _Piece(NamedTuple):
    """A line, or a part of one that is too long to be in one passage."""

    line: int
    text: str
    tokens: int


class _Block(NamedTuple):
    """What stands together: a heading, or the lines between two blank ones."""

    pieces: list[_Piece]
    heading: tuple[int, str] | None
    """Its level and its words."""
    margin: bool
    """Whether it begins at the margin, as a paragraph or a definition does, and no body's rest."""

    @property
    def tokens(self) -> int:
        return sum(piece.tokens for piece in self.pieces)


def split(text: str, count: Count, *, markdown: bool) -> list[Passage]:
    """The passages of a text, in order; `count` tells how many tokens each of some strings has."""
    # Not splitlines(): editors count neither form feeds nor Unicode's separators as ends of a line.
    lines = [line.rstrip("\r") for line in text.split("\n")]
    passages: list[Passage] = []
    open_headings: list[tuple[int, str]] = []
    context = ""
    current: list[_Block] = []
    size = 0

    def flush() -> None:
        pieces = [piece for block in current for piece in block.pieces]
        body = "\n".join(piece.text for piece in pieces)
        # A line of dashes or brackets says nothing.
        if any(character.isalnum() for character in body):
            passages.append(Passage(pieces[0].line, body.rstrip(), context))
        current.clear()

    for block in _blocks(lines, count(lines), count, markdown):
        tokens = block.tokens
        if current:
            only_headings = all(before.heading for before in current)
            if (
                size + tokens > MOST
                or (block.heading and not only_headings)
                or (block.margin and size >= ENOUGH)
            ):
                flush()
        if block.heading:
            level = block.heading[0]
            open_headings = [above for above in open_headings if above[0] < level]
        if not current:
            size = 0
            context = "\n".join(words for _, words in open_headings)
        if block.heading:
            open_headings.append(block.heading)
        current.append(block)
        size += tokens
    if current:
        flush()
    return passages


def _blocks(lines: list[str], counts: list[int], count: Count, markdown: bool) -> Iterator[_Block]:
    pieces: list[_Piece] = []
    heading: tuple[int, str] | None = None
    fenced = False
    for number, (line, tokens) in enumerate(zip(lines, counts, strict=True), start=1):
        blank = not line.strip()
        if markdown and _FENCE.match(line):
            fenced = not fenced
        match = _HEADING.match(line) if markdown and not fenced else None
        if pieces and not blank and (match or heading or not pieces[-1].text.strip()):
            yield from _fitting(pieces, heading)
            pieces, heading = [], None
        if match:
            heading = (len(match[1]), match[2])
        if pieces or not blank:
            pieces += [_Piece(number, part, size) for part, size in _parts(line, tokens, count)]
    if pieces:
        yield from _fitting(pieces, heading)


def _fitting(pieces: list[_Piece], heading: tuple[int, str] | None) -> Iterator[_Block]:
    """One block, or, where they are too many for one passage, one for each piece."""
    whole = _Block(pieces, heading, not pieces[0].text[:1].isspace())
    if whole.tokens <= MOST:
        yield whole
    else:
        # Only the first may be where a passage begins early; the rest fill up what there is.
        for number, piece in enumerate(pieces):
            first = number == 0
            yield _Block([piece], heading if first else None, whole.margin and first)


def _parts(line: str, tokens: int, count: Count) -> Iterator[tuple[str, int]]:
    """The line, halved at a blank near its middle until every part fits into a passage."""
    if tokens <= MOST or len(line) < 2:
        yield line, tokens
        return
    middle = len(line) // 2
    blank = line.rfind(" ", middle // 2, middle) + 1
    at = blank or middle
    halves = (line[:at], line[at:])
    for part, size in zip(halves, count(halves), strict=True):
        yield from _parts(part, size, count)
