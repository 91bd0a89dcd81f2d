"""The router's entry: `python3 index.py [CONTROLLER]`. The daemon runs it so; a person may, too.

    echo '{"method":"increment","params":{"by":5}}' | python3 python/index.py

CONTROLLER is path/to/controller.py, path.py:Class or package.module:Class; without one, the example beside this file.
"""

import os
import sys


def main():  # type: () -> int
    """Runs a Router. What it imports is imported here, so that a spawned child, which imports this file, is spared."""
    # This file can be read by older ones, so that they say what is wrong with them.
    if sys.version_info < (3, 9):  # noqa: UP036
        this = (sys.executable, sys.version_info[0], sys.version_info[1])
        sys.exit("baskd needs Python 3.9 or newer, and %s is %d.%d: pass --python with another" % this)  # noqa: UP031
    folder = os.path.dirname(os.path.abspath(__file__))
    if folder not in sys.path:
        sys.path.insert(0, folder)  # Python may have been told to leave it out, by PYTHONSAFEPATH.
    from router import Router

    return Router(*sys.argv[1:2]).run()


if __name__ == "__main__":
    sys.exit(main())
