"""What the suites need, found or installed: Debian packages, venvs, node_modules, CPythons, the binary."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .runner import REPOSITORY, Failed, Shell

REQUIREMENTS = REPOSITORY / "tests" / "requirements"
OLDEST, NEWEST = (3, 9), (3, 13)


class Python(NamedTuple):
    version: tuple[int, int]
    path: str

    @property
    def name(self) -> str:
        return ".".join(map(str, self.version))


def program(shell: Shell, name: str, package: str) -> str:
    """The path of a program; where it is missing, its Debian package is installed, which takes root."""
    found = shutil.which(name)
    if not found:
        debian(shell, package)
        found = shutil.which(name)
    if not found:
        raise Failed(f"{name} is missing, though the package {package} was installed")
    return found


def debian(shell: Shell, *packages: str) -> None:
    names = " ".join(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failed(
            f"this needs what is in the Debian package {names}: install it (`apt-get install {names}`), then try again"
        )
    quietly = {"DEBIAN_FRONTEND": "noninteractive"}
    shell.run("apt-get", "update", "-q", env=quietly)
    shell.run("apt-get", "install", "-q", "-y", "--no-install-recommends", *packages, env=quietly)


@functools.cache
def pythons() -> tuple[Python, ...]:
    """The CPythons of this machine that the router is made for, one a minor version, oldest first.

    Looked for in $BASKD_PYTHONS (interpreters, separated by colons), in pyenv's folder, on the PATH; then this one.
    """
    names = [f"python3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = [path for path in os.environ.get("BASKD_PYTHONS", "").split(":") if path]
    candidates += sorted(map(str, pyenv.glob("*/bin/python")))
    candidates += [found for name in names if (found := shutil.which(name))]
    candidates.append(sys.executable)
    answered: dict[tuple[int, int], Python] = {}
    for candidate in candidates:
        python = _asked(candidate)
        if python and OLDEST <= python.version <= NEWEST:
            answered.setdefault(python.version, python)
    return tuple(answered[version] for version in sorted(answered))


def _asked(path: str) -> Python | None:
    """What an interpreter says of itself. A pyenv shim of a version that is not chosen says nothing."""
    code = "import sys; print(sys.implementation.name, *sys.version_info[:2], sys.executable)"
    try:
        said = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=30, check=True).stdout.split(
            maxsplit=3
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if len(said) != 4 or said[0] != "cpython":
        return None
    return Python((int(said[1]), int(said[2])), said[3].strip())


def python(shell: Shell, oldest: tuple[int, int] = OLDEST) -> Python:
    """The Python for tools: this one if it is new enough, else the newest there is."""
    here = tuple(sys.version_info[:2])
    candidates = [found for found in pythons() if found.version >= oldest]
    if not candidates:
        raise Failed(
            f"this needs CPython {oldest[0]}.{oldest[1]} to {NEWEST[0]}.{NEWEST[1]}: install it, or set BASKD_PYTHONS"
        )
    return next((found for found in candidates if found.version == here), candidates[-1])


def venv(shell: Shell, name: str, base: Python, requirements: Path, *options: str) -> Path:
    """The interpreter of the venv `.venv-NAME`, made anew when `requirements` or pip's `options` have changed."""
    folder = REPOSITORY / f".venv-{name}"
    interpreter = folder / "bin" / "python"
    wanted = hashlib.sha256(repr((base, options, requirements.read_bytes())).encode()).hexdigest()
    stamp = folder / "stamp"
    if stamp.is_file() and stamp.read_text() == wanted and interpreter.exists():
        return interpreter
    shutil.rmtree(folder, ignore_errors=True)
    try:
        shell.run(base.path, "-m", "venv", folder)
    except Failed:
        # Debian's Python has no ensurepip of its own.
        debian(shell, f"python{base.name}-venv")
        shell.run(base.path, "-m", "venv", folder)
    pip = (interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    shell.run(*pip, *options, "-r", requirements)
    stamp.write_text(wanted)
    return interpreter


def node_modules(shell: Shell, folder: Path) -> None:
    """What package-lock.json names, installed."""
    program(shell, "npm", "npm")
    installed = folder / "node_modules" / ".package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < (folder / "package-lock.json").stat().st_mtime:
        shell.run("npm", "ci", "--no-audit", "--no-fund", cwd=folder)


@functools.cache
def _built() -> Path:
    folder = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")
    return folder / "release" / "baskd"


def binary(shell: Shell) -> Path:
    """The release binary, built from what is here; it becomes $BASKD_BIN for every suite."""
    if not os.environ.get("BASKD_BIN"):
        shell.run("cargo", "build", "--release", "--locked", "--package", "baskd")
        os.environ["BASKD_BIN"] = str(_built())
    path = Path(os.environ["BASKD_BIN"])
    if not path.is_file():
        raise Failed(f"there is no binary at {path}, which BASKD_BIN names")
    return path
