"""From what names a controller to its class."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any, NamedTuple, Optional

DEFAULT_CLASS = "Controller"


class Spec(NamedTuple):
    """A controller's class, in a file or else in a module that can be imported."""

    file: Optional[str]
    module: Optional[str]
    class_name: str


class LoadError(Exception):
    """The controller can't be found; the message says what is there."""


def parse(text: str) -> Spec:
    """`path.py`, `path.py:Class`, `package.module:Class` or `package.module`."""
    place, colon, name = text.rpartition(":")
    if not colon or os.sep in name:
        place, name = text, ""
    class_name = name or DEFAULT_CLASS
    if place.endswith(".py") or os.sep in place:
        return Spec(os.path.abspath(os.path.expanduser(place)), None, class_name)
    return Spec(None, place, class_name)


def from_hello(described: Any, example: str) -> Spec:
    """The daemon's `C`; `example` is the file that stands for null."""
    if described is None:
        return Spec(example, None, DEFAULT_CLASS)
    return Spec(described.get("file"), described.get("module"), described.get("class") or DEFAULT_CLASS)


def load(spec: Spec) -> type:
    """Imports the controller's module; raises `LoadError`, or whatever the import raises."""
    if spec.file is not None:
        where, module = spec.file, _load_file(spec.file)
    else:
        assert spec.module is not None
        where, module = f"the module {spec.module}", _load_module(spec.module)
    found = getattr(module, spec.class_name, None)
    if isinstance(found, type):
        return found
    classes = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    there = f"there {'is' if len(classes) == 1 else 'are'} {', '.join(classes)}" if classes else "there are no classes"
    raise LoadError(f"There is no class {spec.class_name} in {where}; {there}.")


def _load_module(name: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{name}.".startswith(f"{missing.name}."):
            raise  # Something that the controller imports.
        raise LoadError(f"There is no module {missing.name} in {os.getcwd()}, nor is one installed.") from None


def _load_file(path: str) -> ModuleType:
    if not os.path.isfile(path):
        raise LoadError(f"There is no file {path}.")
    sys.path.insert(0, os.path.dirname(path))
    # Under its own name, so that what it defines can be pickled, and found again by a child process. A name that is
    # taken already, by the standard library for one, is left alone.
    name = os.path.splitext(os.path.basename(path))[0]
    if name in sys.modules or not name.isidentifier():
        name = f"baskd_controller_{name}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
