"""The version of the router, which is the version of the baskd it is shipped in. Nothing else states it in Python."""

VERSION = "0.1.0"
