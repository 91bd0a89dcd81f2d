"""What tests/run runs: `all` lists the suites, `runner` runs them, `tools` finds and installs what they need."""
