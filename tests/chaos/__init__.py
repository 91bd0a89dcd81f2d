"""Breaks everything that can break, from a seed, and has a model check what every client was told: see __main__.py."""
