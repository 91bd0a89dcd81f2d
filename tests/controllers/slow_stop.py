"""Takes its time to end: until the file that its property `gate` names is there."""

import os
import time

from basecontroller import BaseController


class Controller(BaseController):
    def echo(self, params):
        return params

    def on_stop(self):
        gate = getattr(self, "gate", None)
        print("on_stop has begun")
        deadline = time.monotonic() + 8
        while gate and not os.path.exists(gate) and time.monotonic() < deadline:
            time.sleep(0.005)
        print("on_stop has ended")
