"""A `systemctl` and a `loginctl` that only know what baskd asks of them, and write down what that was.

They keep what a user manager would: which templates it has read, which units are active, the links of those that are
enabled. They start nothing. `tests/systemd` has the real ones.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


class Systemctl:
    """The two programs, in a folder of their own that is to be first on the PATH."""

    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        self.bin.mkdir()
        self.memory = self.bin / "memory.json"
        self.set()
        for name in ("systemctl", "loginctl"):
            program = self.bin / name
            here = Path(__file__).resolve()
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{here}" "{self.memory}" {name} "$@"\n')
            program.chmod(0o755)

    def path(self) -> str:
        return f"{self.bin}{os.pathsep}{os.environ['PATH']}"

    def set(self, **what: Any) -> None:
        """`active`: a unit's state. `refuses`: what is said for a verb. `unreachable`: there is no manager."""
        before = json.loads(self.memory.read_text()) if self.memory.exists() else {}
        fresh = {"calls": [], "read": [], "active": {}, "linger": "yes", "refuses": {}, "environment": {}}
        self.memory.write_text(json.dumps({**fresh, "unreachable": "", **before, **what}))

    def calls(self) -> list[str]:
        """What was asked that changes something, since the last look."""
        memory = json.loads(self.memory.read_text())
        self.set(calls=[])
        asking = ("show", "list-units")
        return [call for call in memory["calls"] if not call.startswith(asking)]

    def active(self) -> dict[str, str]:
        active: dict[str, str] = json.loads(self.memory.read_text())["active"]
        return active


def _template(unit: str) -> str:
    before, _, after = unit.partition("@")
    return f"{before}@.{after.rpartition('.')[2]}"


class _Manager:
    def __init__(self, memory: Path) -> None:
        self.at = memory
        self.memory: dict[str, Any] = json.loads(memory.read_text())
        self.units = Path(os.environ["XDG_CONFIG_HOME"]) / "systemd" / "user"

    def save(self) -> None:
        self.at.write_text(json.dumps(self.memory))

    def link(self, unit: str) -> Path:
        return self.units / "sockets.target.wants" / unit

    def now_there(self) -> list[str]:
        """The unit files, each with when it was written."""
        files = sorted(path for path in self.units.rglob("*") if path.is_file() and not path.is_symlink())
        return [f"{path.relative_to(self.units)} {path.stat().st_mtime_ns}" for path in files]

    def has_read(self, unit: str) -> bool:
        return any(line.startswith(f"{_template(unit)} ") for line in self.memory["read"])

    def show(self, unit: str) -> str:
        loaded = self.has_read(unit)
        # A name that it was never asked for is read from the disk at once.
        if not loaded and not self.memory["read"] and (self.units / _template(unit)).exists():
            loaded = True
        state = self.memory["active"].get(unit, "inactive")
        fields = {
            "Id": unit,
            "LoadState": "loaded" if loaded else "not-found",
            "ActiveState": state,
            "UnitFileState": ("enabled" if self.link(unit).is_symlink() else "disabled") if loaded else "",
            "Result": "exit-code" if state == "failed" else "success",
            "NeedDaemonReload": "yes" if loaded and self.memory["read"] != self.now_there() else "no",
        }
        if unit.endswith(".service"):
            fields["MainPID"] = str(self.memory.get("main_pid", 0))
        return "".join(f"{key}={value}\n" for key, value in fields.items())

    def run(self, verb: str, flags: list[str], units: list[str]) -> None:
        active = self.memory["active"]
        if verb == "show-environment":
            environment = {"HOME": os.environ["HOME"], "XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"]}
            for key, value in {**environment, **self.memory["environment"]}.items():
                print(f"{key}={value}")
        elif verb == "show":
            print("\n".join(self.show(unit) for unit in units))
        elif verb == "list-units":
            for unit, state in active.items():
                print(f"{unit} loaded {state} whatever baskd")
        elif verb == "daemon-reload":
            self.memory["read"] = self.now_there()
        elif verb in ("enable", "start", "restart"):
            for unit in units:
                if not self.has_read(unit) and not (self.units / _template(unit)).exists():
                    raise SystemExit(f"Failed to {verb} unit: Unit file {_template(unit)} does not exist.")
                active[unit] = "active"
                if verb == "enable":
                    self.link(unit).parent.mkdir(exist_ok=True)
                    self.link(unit).unlink(missing_ok=True)
                    self.link(unit).symlink_to(f"../{_template(unit)}")
        elif verb in ("disable", "stop"):
            for unit in units:
                active.pop(unit, None)
                if verb == "disable":
                    self.link(unit).unlink(missing_ok=True)
                    if not any(self.link(unit).parent.iterdir()):
                        self.link(unit).parent.rmdir()
        elif verb == "reset-failed":
            if not any(active.get(unit) == "failed" for unit in units):
                raise SystemExit(f"Failed to reset failed state of unit {units[0]}: Unit {units[0]} not loaded.")
            for unit in units:
                active.pop(unit, None)
        else:
            raise SystemExit(f"Unknown command verb {verb} {flags}.")


def main() -> None:
    memory, program, *arguments = sys.argv[1:]
    manager = _Manager(Path(memory))
    if program == "loginctl":
        print(f"Linger={manager.memory['linger']}")
        return
    if arguments[:1] != ["--user"]:
        raise SystemExit("this is not the user's manager")
    verb, *rest = arguments[1:]
    manager.memory["calls"].append(" ".join(arguments[1:]))
    manager.save()
    if said := manager.memory["unreachable"]:
        raise SystemExit(said)
    if said := manager.memory["refuses"].get(verb):
        raise SystemExit(said)
    flags = [word for word in rest if word.startswith("-")]
    manager.run(verb, flags, [word for word in rest if not word.startswith("-")])
    manager.save()


if __name__ == "__main__":
    main()
