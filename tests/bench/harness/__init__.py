"""What tests/bench/run does: `install` what it needs, start `contenders`, `measure` them in rounds, report in `rows`."""
