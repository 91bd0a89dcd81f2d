"""`BaseController`, by the seed's name: `from basecontroller import BaseController`."""

from baskd import BaseController

__all__ = ["BaseController"]
