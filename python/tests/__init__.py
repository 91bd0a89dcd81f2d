"""The router's tests. From the project's folder, under any CPython, with nothing installed:

    python -m unittest discover -s python/tests -t python

What needs msgspec, orjson or numpy is skipped where they are not installed, and says so.
"""
