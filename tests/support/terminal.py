"""A real terminal: tmux's."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path


class Terminal:
    """A tmux server with one window, of 80 by 24 unless it is told otherwise."""

    def __init__(self, folder: Path, environment: dict[str, str], width: int = 80, height: int = 24) -> None:
        self._tmux = ["tmux", "-f", "/dev/null", "-S", str(folder / "tmux")]
        # Without colours where the tests themselves were told so, what is drawn would be another thing.
        self._environment = {name: value for name, value in environment.items() if name != "NO_COLOR"}
        self._environment |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self._is_closed = False
        self._run("new-session", "-d", "-c", str(folder), "-x", str(width), "-y", str(height), "sh")

    def _run(self, *arguments: str) -> str:
        command = [*self._tmux, *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout

    def type(self, line: str, enter: str = "Enter") -> None:
        self._run("send-keys", "-l", line)
        self._run("send-keys", enter)

    def press(self, key: str) -> None:
        self._run("send-keys", key)

    def resize(self, width: int, height: int) -> None:
        self._run("resize-window", "-x", str(width), "-y", str(height))

    def screen(self, *, escapes: bool = False) -> str:
        return self._run("capture-pane", "-p", *(["-e"] if escapes else []))

    def tell(self, variable: str) -> str:
        """What tmux knows of the window: `cursor_flag`, `alternate_on`, `pane_pid`."""
        return self._run("display-message", "-p", f"#{{{variable}}}").strip()

    def wait_for(self, *texts: str, without: str = "", seconds: float = 20.0) -> str:
        """The screen, as soon as it shows all of these, and not the other."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            screen = self.screen()
            if all(text in screen for text in texts) and not (without and without in screen):
                return screen
        raise AssertionError(f"{texts} did not appear (without {without!r}):\n{screen}")

    def close(self) -> None:
        """Takes it away from whoever draws on it, as a closed window does."""
        if not self._is_closed:
            self._is_closed = True
            self._run("kill-server")
