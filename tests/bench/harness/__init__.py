"""What tests/bench/run does.

`command` reads the command line, `install` what is needed; `contenders` starts those that are measured and `solo` what
needs the machine for itself, in `rounds`; `rows` makes ratios of it, `report` and `plot` show them.
"""
