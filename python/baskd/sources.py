"""The files that a controller is made of: what the daemon looks at for changes."""

from __future__ import annotations

import os
import sys
import sysconfig
from types import TracebackType
from typing import Iterator, Optional

from .errors import is_ours

# So many are told at most.
_MOST = 1000


def sources(problem: Optional[BaseException] = None) -> list[str]:
    """The files of all modules but the standard library's, installed packages' and the router's own.

    Where the import ended with `problem`, also those that its traceback goes through, and the one that can't be parsed.
    """
    found: dict[str, None] = {}
    modules = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    for file in [*modules, *_of(problem)]:
        if isinstance(file, str) and file.endswith(".py") and _is_the_users(file := os.path.abspath(file)):
            found[file] = None
    return list(found)[:_MOST]


def _of(problem: Optional[BaseException]) -> Iterator[Optional[str]]:
    seen = set()
    while problem is not None and id(problem) not in seen:
        seen.add(id(problem))
        if isinstance(problem, SyntaxError):
            yield problem.filename
        frames: Optional[TracebackType] = problem.__traceback__
        while frames is not None:
            yield frames.tb_frame.f_code.co_filename
            frames = frames.tb_next
        problem = problem.__cause__ or problem.__context__


_LIBRARY = tuple(
    os.path.join(folder, "")
    for folder in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")} | {os.path.dirname(os.__file__)}
)
_ROUTER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _is_the_users(file: str) -> bool:
    if file.startswith(_LIBRARY) or is_ours(file) or not os.path.isfile(file):
        return False
    # Beside the package lie the entry, the seed's names and the example, which come with the daemon.
    if os.path.dirname(file) == _ROUTER:
        return False
    return not {"site-packages", "dist-packages"} & set(file.split(os.sep))
