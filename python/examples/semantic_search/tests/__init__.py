"""Run with the example's venv, from anywhere:

.venv/bin/python -m unittest discover -t python/examples/semantic_search \
    -s python/examples/semantic_search/tests
"""

import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parent.parent

# As the router has it: the controller's folder, and its own, where `basecontroller` is.
sys.path[:0] = [str(EXAMPLE), str(EXAMPLE.parent.parent)]

# Before the tests import numpy, as in the controller.
import model  # noqa: E402, F401
