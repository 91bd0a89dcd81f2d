"""The source files that a controller is made of: what the daemon watches, and waits for where they don't load."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any, Iterable, Iterator, Optional

from .loading import Spec

_MOST = 1000

_STANDARD = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_BESIDE = os.path.dirname(_PACKAGE.rstrip(os.sep))
#: The router's own; not the example beside them, which is a controller like any other.
_OURS = frozenset(os.path.join(_BESIDE, name) for name in ("index.py", "router.py", "basecontroller.py"))
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def of_controller(spec: Spec, cls: type) -> list[str]:
    """The files of a controller that was loaded: its own first, then all that has been imported, in that order.

    A module in an archive is named by that. What is installed is left out, except for the controller itself.
    """
    modules = sys.modules.copy()
    own = [spec.file, _file_of(modules.get(spec.module or "")), _file_of(modules.get(cls.__module__))]
    return _listed(filter(None, own), _not_installed(map(_file_of, modules.values())))


def of_failure(spec: Optional[Spec], problem: BaseException) -> list[str]:
    """The files that may have to change before a controller can be loaded that has failed with `problem`.

    Some need not be there: that of a module that was not found may be about to be written.
    """
    named = [spec.file] if spec is not None and spec.file else []
    if spec is not None and spec.module:
        named += _places_of(spec, spec.module)
    for each in _chain(problem):
        if isinstance(each, SyntaxError) and isinstance(each.filename, str):
            named.append(each.filename)
        named += _traceback_files(each.__traceback__)
        if isinstance(each, ModuleNotFoundError) and isinstance(each.name, str) and spec is not None:
            named += _places_of(spec, each.name)
    return _listed(named, _not_installed(map(_file_of, sys.modules.copy().values())))


def _file_of(module: Any) -> Optional[str]:
    """A module's `__file__`, without asking a module that would only now load itself."""
    try:
        file = object.__getattribute__(module, "__dict__").get("__file__")
    except AttributeError:
        return None  # None, or some object that stands for a module.
    return file if isinstance(file, str) else None


def _not_installed(files: Iterable[Optional[str]]) -> Iterator[str]:
    return (file for file in files if file is not None and not _is_installed(file))


def _is_installed(file: str) -> bool:
    return _INSTALLED[0] in file or _INSTALLED[1] in file


def _is_ours_or_standard(file: str) -> bool:
    if file.startswith(_STANDARD):
        return not _is_installed(file)
    return file in _OURS or file.startswith(_PACKAGE)


def _listed(*sources: Iterable[str]) -> list[str]:
    """Whole paths, each once, in their order, of what can change; not more than so many."""
    listed: dict[str, None] = {}
    for source in sources:
        for file in source:
            if not file.endswith(".py") or file.startswith("<") or _is_ours_or_standard(file):
                continue
            try:
                path = _archive_of(os.path.abspath(file))
                path.encode()
            except (OSError, ValueError):
                continue  # The working folder is gone; or a name that is no UTF-8, which JSON can't hold.
            if not _is_ours_or_standard(path):
                listed[path] = None
            if len(listed) == _MOST:
                return list(listed)
    return list(listed)


def _archive_of(path: str) -> str:
    """The zip file that holds what is called so; else the path as it is."""
    inner = path
    while not os.path.exists(inner):
        outer = os.path.dirname(inner)
        if outer == inner:
            break
        inner = outer
    return inner if os.path.isfile(inner) else path


def _places_of(spec: Spec, name: str) -> list[str]:
    """Where a module of that name would stand beside the controller."""
    try:
        folder = os.path.dirname(spec.file) if spec.file else os.getcwd()
    except OSError:
        return []  # The working folder is gone.
    base = os.path.join(folder, *name.split("."))
    return [f"{base}.py", os.path.join(base, "__init__.py")]


def _chain(problem: BaseException) -> Iterator[BaseException]:
    """The exception, and those that it came of."""
    seen: set[int] = set()
    left: list[Optional[BaseException]] = [problem]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        left += [each.__context__, each.__cause__]


def _traceback_files(frames: Optional[TracebackType]) -> Iterator[str]:
    """The innermost first: that is where a mistake most likely is."""
    files = []
    while frames is not None:
        files.append(frames.tb_frame.f_code.co_filename)
        frames = frames.tb_next
    return reversed(files)
