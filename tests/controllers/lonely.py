"""For several workers, of which only the first can start."""

import os

from basecontroller import BaseController


class Controller(BaseController):
    stateless = True

    def on_start(self):
        os.mkdir(os.environ["SEAT"])

    def pid(self):
        return os.getpid()
