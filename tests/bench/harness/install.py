"""What the measurements need: the binary, the load driver, venvs, node_modules. Whatever is there is not made again."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from suites import tools
from suites.runner import LOGS, REPOSITORY, Shell

BENCH = REPOSITORY / "tests" / "bench"
PEERS = BENCH / "peers"
NODE_PEERS = PEERS / "node"
LOG_FOLDER = LOGS / "bench"


@dataclass
class Installed:
    """Where everything is."""

    baskd: Path
    driver: Path
    #: An interpreter for each codec: one that has it, and nothing else that baskd would rather use.
    pythons: dict[str, Path] = field(default_factory=dict)
    #: The interpreter that has FastAPI, uvicorn, grpcio and mosec.
    peers: Path | None = None
    node: str | None = None


def install(codecs: list[str], with_node: bool, with_peers: bool) -> Installed:
    LOG_FOLDER.mkdir(parents=True, exist_ok=True)
    shell = Shell("bench-install", LOGS)
    try:
        say("the release build of baskd")
        baskd = tools.binary(shell)
        say("the load driver")
        folder = BENCH / "driver"
        shell.run("cargo", "build", "--release", "--locked", cwd=folder, env=_without_target())
        there = Installed(baskd.resolve(), folder / "target" / "release" / "baskd-bench")
        base = tools.python(shell, oldest=(3, 10))
        for codec in codecs:
            say(f"a Python with {codec}")
            requirements = {"json": BENCH / "requirements" / "json.txt"}
            path = requirements.get(codec, tools.REQUIREMENTS / f"{codec}.txt")
            there.pythons[codec] = tools.venv(shell, f"bench-{codec}", base, path)
        if with_peers:
            say("a Python with FastAPI, uvicorn, grpcio and mosec")
            there.peers = tools.venv(shell, "bench-peers", base, BENCH / "requirements" / "peers.txt")
        if with_node:
            say("python-shell and pythonia")
            there.node = tools.program(shell, "node", "nodejs")
            tools.node_modules(shell, NODE_PEERS)
        return there
    finally:
        shell.close()


def _without_target() -> dict[str, str]:
    # The driver has a target folder of its own, wherever the daemon's is.
    return {"CARGO_TARGET_DIR": str(BENCH / "driver" / "target")} if "CARGO_TARGET_DIR" in os.environ else {}


def say(what: str) -> None:
    print(f"  needs {what}", flush=True)
