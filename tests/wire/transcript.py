"""Transcripts: what is sent to a daemon, and what it answers. tests/transcripts holds them.

    # a comment
    @controller FILE    of tests/controllers; without it, the embedded example
    @newlines           of the whole file: its messages need their newlines, since some of them are no JSON
    @any-order          of the next step: its answers may come in any order
    --> TEXT            is sent, with a newline after it
    <-- JSON            is answered; values may stretch over several such lines, or share one

A step is some `-->` lines and the `<--` lines after them; one without an answer is of notifications. Among what is
expected, "*" matches any value, and an object with the member "...": "*" may have members that are not listed. Numbers
are compared digit by digit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Optional

ANY = "*"
REST = "..."


class Digits(NamedTuple):
    """A number, as it was written."""

    text: str


@dataclass
class Step:
    line: int
    sent: list[str] = field(default_factory=list)
    expected: list[Any] = field(default_factory=list)
    any_order: bool = False

    @property
    def text(self) -> str:
        return "".join(line + "\n" for line in self.sent)


@dataclass
class Transcript:
    path: Path
    steps: list[Step]
    controller: Optional[str]
    needs_newlines: bool

    @property
    def expected(self) -> list[Any]:
        return [message for step in self.steps for message in step.expected]


def read(path: Path) -> Transcript:
    transcript = Transcript(path, [], None, False)
    answers: dict[int, list[str]] = {}
    any_order = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        marker, _, rest = line.partition(" ")
        steps = transcript.steps
        if marker == "-->":
            if not steps or steps[-1].line in answers:
                steps.append(Step(number, any_order=any_order))
                any_order = False
            steps[-1].sent.append(rest)
        elif marker == "<--":
            answers.setdefault(steps[-1].line, []).append(rest)
        elif marker == "@controller":
            transcript.controller = rest
        elif marker == "@newlines":
            transcript.needs_newlines = True
        elif marker == "@any-order":
            any_order = True
        elif marker and not marker.startswith("#"):
            raise ValueError(f"{path.name}:{number}: a line can't begin with {marker!r}")
    for step in transcript.steps:
        try:
            step.expected = values("\n".join(answers.get(step.line, [])))
        except ValueError as error:
            raise ValueError(f"{path.name}:{step.line}: an expected answer is no JSON: {error}") from None
    return transcript


_DECODER = json.JSONDecoder(parse_int=Digits, parse_float=Digits)


def values(text: str) -> list[Any]:
    """The JSON values that stand one after another in a text."""
    found = []
    rest = text.lstrip()
    while rest:
        value, end = _DECODER.raw_decode(rest)
        found.append(value)
        rest = rest[end:].lstrip()
    return found


def matches(expected: Any, got: Any) -> bool:
    if expected == ANY:
        return True
    if type(expected) is not type(got):
        return False
    if isinstance(expected, dict):
        wanted = {name: value for name, value in expected.items() if (name, value) != (REST, ANY)}
        may_have_more = len(wanted) < len(expected)
        return (
            wanted.keys() <= got.keys()
            and (may_have_more or wanted.keys() == got.keys())
            and all(matches(value, got[name]) for name, value in wanted.items())
        )
    if isinstance(expected, list):
        return len(expected) == len(got) and all(map(matches, expected, got))
    return bool(expected == got)


def difference(expected: list[Any], got: list[Any], any_order: bool) -> Optional[str]:
    """What is missing or too much, for a person; None if all is as expected."""
    if not any_order:
        for want, have in zip(expected, got):
            if not matches(want, have):
                return f"expected {shown(want)}\n     got {shown(have)}"
    missing, left = [], list(got)
    for want in expected:
        place = next((place for place, have in enumerate(left) if matches(want, have)), None)
        if place is None:
            missing.append(want)
        else:
            left.pop(place)
    if not missing and not left:
        return None
    lines = [f"missing    {shown(want)}" for want in missing] + [f"unexpected {shown(have)}" for have in left]
    return "\n".join(lines)


def shown(value: Any) -> str:
    if isinstance(value, Digits):
        return value.text
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {shown(member)}" for name, member in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
