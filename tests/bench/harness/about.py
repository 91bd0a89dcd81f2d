"""What was measured with: the machine and the versions, for whoever compares."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from suites.runner import REPOSITORY

from .install import NODE_PEERS, Installed


def machine() -> str:
    names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    cores = len(os.sched_getaffinity(0))
    kib = int(re.findall(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.M)[0])
    # A vendor's kernel name ends in what only the vendor knows.
    kernel = re.match(r"[\d.]+", platform.release())
    return (
        f"{cores} cores of {names[0] if names else platform.machine()}, {kib / 2**20:.0f} GiB, "
        f"Linux {kernel[0] if kernel else platform.release()}"
    )


def versions(installed: Installed) -> str:
    found = {"baskd": _first(_said([installed.baskd, "--version"]))}
    commit = _said(["git", "-C", REPOSITORY, "describe", "--always", "--dirty", "--exclude", "*"])
    if commit:
        found["baskd"] += f" ({commit})"
    python = next(iter(installed.pythons.values()))
    found["Python"] = _said([python, "-c", "import platform; print(platform.python_version())"])
    if "msgspec" in installed.pythons:
        found["msgspec"] = _packages(installed.pythons["msgspec"], ["msgspec"])["msgspec"]
    if installed.peers:
        found |= _packages(installed.peers, ["fastapi", "uvicorn", "uvloop", "httptools", "grpcio", "mosec"])
    if installed.node:
        found["Node"] = _said([installed.node, "--version"]).lstrip("v")
        for name in ("python-shell", "pythonia"):
            text = (NODE_PEERS / "node_modules" / name / "package.json").read_text()
            found[name] = re.findall(r'"version":\s*"([^"]+)"', text)[0]
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)


def load() -> float:
    """How much else the machine does."""
    return os.getloadavg()[0]


def _packages(python: Path, names: list[str]) -> dict[str, str]:
    code = f"from importlib.metadata import version; print(*map(version, {names!r}))"
    return dict(zip(names, _said([python, "-c", code]).split()))


def _first(text: str) -> str:
    return text.split()[-1] if text else ""


def _said(command: list[str | Path]) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
