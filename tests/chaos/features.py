"""What the baskd that is tested can do: as long as it is being built, what is not there yet is told as skipped."""

from __future__ import annotations

import functools
from pathlib import Path

from support.daemon import binary


@functools.cache
def has(word: str) -> bool:
    return word.encode() in Path(binary()).read_bytes()
