"""`Router`, by the seed's name: reads JSON messages from stdin, calls the controller, writes what it answers."""

from __future__ import annotations

import os
from typing import Optional

from baskd.main import run

EXAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "controller.py")


class Router:
    """Serves one controller until stdin ends. Under the daemon, the daemon says which one."""

    def __init__(self, controller: Optional[str] = None) -> None:
        """`controller` is path.py, path.py:Class or package.module:Class; None is the example beside this file."""
        self.controller = controller

    def run(self) -> int:
        """Gives the exit status."""
        return run(self.controller, EXAMPLE)
