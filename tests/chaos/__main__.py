"""Breaks baskd in every way the scenarios know, and checks what clients were told: `python3 -m chaos`, in tests/.

Without a flag it makes the short run that tests/run makes. `--seconds N` goes through all scenarios again and again,
with new seeds, for so long. `--seed N --scenario NAME` replays one round, as a failure says.

A seed decides the whole plan: which calls each client makes, in which order and when it waits; what is broken, how, and
after which pause. What it can't decide is how the kernel runs the processes meanwhile, and so at which instruction a
signal strikes. A replay therefore makes the same attempts and may find another interleaving: `--rounds N` tries again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections.abc import Iterator

from . import rules_of_state, shim  # noqa: F401 - its rules are part of the model
from .report import Tally
from .round import Round
from .rules import Violation
from .scenarios import SCENARIOS, Scenario, Skipped

SEED = 20_261_125
#: So many lines of a failure's history are shown.
SHOWN = 40


def main() -> int:
    options = _options()
    random.seed(options.seed)
    tally = Tally()
    began = time.monotonic()
    chosen = [SCENARIOS[name] for name in options.scenario] if options.scenario else list(SCENARIOS.values())
    try:
        for number, scenario in _plan(chosen, options, began):
            _play(scenario, options.seed + number, tally, options.seconds is not None or bool(options.scenario))
    finally:
        shim.remove()
    tally.show(time.monotonic() - began, options.seed)
    return 1 if tally.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"what the plan comes from [default: {SEED}]")
    parser.add_argument(
        "--scenario",
        action="append",
        default=[],
        choices=list(SCENARIOS),
        metavar="NAME",
        help="only this; more than once for more",
    )
    parser.add_argument("--rounds", type=int, help="of each scenario")
    parser.add_argument("--seconds", type=float, help="go on with new seeds for so long")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    options = parser.parse_args()
    if options.list:
        for scenario in SCENARIOS.values():
            only = "" if scenario.rounds else " (long run only)"
            print(f"{scenario.name:<20} {scenario.about}{only}")
        sys.exit(0)
    return options


def _plan(chosen: list[Scenario], options: argparse.Namespace, began: float) -> Iterator[tuple[int, Scenario]]:
    """Which scenario is played with which seed, as the difference to the run's."""
    number = 0
    if options.seconds is not None:
        while True:
            for scenario in chosen:
                if time.monotonic() - began > options.seconds:
                    return
                yield number, scenario
            number += 1
    for scenario in chosen:
        for number in range(options.rounds or (1 if options.scenario else scenario.rounds)):
            yield number, scenario


def _play(scenario: Scenario, seed: int, tally: Tally, is_long: bool) -> None:
    """One round of a scenario, and a line about it."""
    round = Round(scenario.name, seed, is_long)
    began = time.monotonic()
    try:
        try:
            scenario.play(round)
        except Skipped as skipped:
            tally.skipped.append(f"{scenario.name}: {skipped}")
            print(f"{scenario.name:<20} skipped", flush=True)
            return
        except Exception:
            round.history.found.append("the scenario failed:\n" + traceback.format_exc())
        wrong = round.finish()
        tally.add(round, wrong)
        said = f"seed {seed}  {len(round.history.requests)} calls, {len(round.history.faults)} faults"
        print(
            f"{scenario.name:<20} {'FAILED' if wrong else 'ok':<7}{time.monotonic() - began:5.1f} s  {said}",
            flush=True,
        )
        if wrong:
            _explain(round, wrong)
    finally:
        round.close()


def _explain(round: Round, wrong: list[Violation]) -> None:
    """What was wrong, the history's part that it is about, and how to see it again."""
    for violation in wrong[:10]:
        print(f"  {violation.rule}: {violation.what}")
        for line in round.history.around(violation.tokens)[:SHOWN]:
            print(f"      {line}")
    if len(wrong) > 10:
        print(f"  … and {len(wrong) - 10} more")
    for line in round.logs[-15:]:
        print(f"      log: {line}")
    print(
        f"  to see it again: cd tests && python3 -m chaos --scenario {round.scenario} --seed {round.seed}", flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
