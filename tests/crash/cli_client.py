"""The Rust client, as the command line uses it: `baskd call`, one process after another."""

from __future__ import annotations

import json
import os
import subprocess
import time

from crash.tally import Tally, told_to_stop

tally = Tally("rust")
while not told_to_stop():
    name = tally.new_call()
    method = "work" if tally.calls % 2 else "echo"
    started = time.monotonic()
    command = [os.environ["BASKD_BIN"], "call", method, f"n={name}", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode == 0:
        tally.result(name, json.loads(ended.stdout), started)
    elif ended.returncode == 4:
        tally.error(name, json.loads(ended.stderr), started)
    else:
        tally.other.append({"exit status": ended.returncode, "stderr": ended.stderr})
tally.print()
