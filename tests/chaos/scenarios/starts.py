"""Python starts slowly, or not at all, until it is mended."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..client import Client, Step
from ..load import Load
from ..round import Round
from . import scenario

MAY = frozenset(("BackendCrashed", "BackendUnavailable"))


@scenario("starts", rounds=2)
def starts(round: Round) -> None:
    """Starts that are slow, fail, die or hang, then one that goes well: mended by the file's change or on command."""
    controller = round.write_controller(1)
    failures = ["fail", "die kill", "die exit", "die segfault", "hang", "slow 0.2"]
    plan = [round.chance.choice(failures) for _ in range(round.chance.randrange(1, 4))]
    is_cold = round.chance.random() < 0.3
    round.boot.write_text("\n".join([*([] if is_cold else ["ok"]), *plan, "fail"]))
    round.start(str(controller), config='startup_timeout = "5s"\n')
    if not is_cold:
        round.ready()
    round.client("client0", Load(calls=60, cancels=0.0, timeouts=0.0, may=MAY).steps)
    round.client("mending", lambda _: _until_it_serves(round))
    with round.running():
        # Whichever process serves dies, and those after it do as the plan says; the last of them never starts.
        for _ in range((not is_cold) + sum(word.startswith("slow") for word in plan)):
            round.signal_python(9)
        for word in plan:
            round.fault(f"start: {word.split()[0]}")
        if round.chance.random() < 0.5:
            round.live.wait_for_log("not started again until")
            round.fault("start: given up")
        else:
            time.sleep(round.chance.choice([0.1, 1.0, 2.0]) * round.chance.random())
        round.boot.write_text("ok")
        _mend(round, round.chance.random() < 0.5)


def _mend(round: Round, by_file: bool) -> None:
    if by_file:
        round.write_controller(2)
    else:
        with round.ask() as connection:
            connection.call("daemon.restart", may_fail=True)


def _until_it_serves(round: Round) -> Iterator[Step]:
    """Asks until it is answered, as often as it takes: after the mending, that must not take long."""
    served = False
    until = time.monotonic() + 30

    def step(client: Client) -> None:
        nonlocal served
        made = client.call(client.new("work", may=MAY))
        # It must have been answered by a process that came after the mending: boot says "ok" only then.
        served = made.outcome == "result" and round.boot.read_text() == "ok"
        if not served:
            client.read(0.05)

    while not served:
        if time.monotonic() > until:
            round.history.found.append("30 s after it was mended, Python does not serve")
            return
        yield step
