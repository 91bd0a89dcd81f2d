"""What a process takes of memory, as the kernel counts it."""

from __future__ import annotations

from pathlib import Path


def resident(pid: int) -> int:
    """Bytes in memory now, the process's share of shared pages."""
    return _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


class Peak:
    """How far a process's memory rises above what it is now, even between two looks."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # The mark of high water is what there is now.
        self._before = _field(self._status, "VmRSS")

    def risen(self) -> int:
        """Bytes."""
        return _field(self._status, "VmHWM") - self._before


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise LookupError(f"{path} has no {name}")
