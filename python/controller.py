"""The example controller. Edit it, or write your own beside it: every public method can be called."""

import time

from basecontroller import BaseController


class Controller(BaseController):
    """A counter, two properties and a stream."""

    def __init__(self):
        self.model = None
        self.tokenizer = None
        self.counter = 0

    def getModelPath(self, params):
        """Gives the property `model`."""
        return {"model": self.model}

    def getTokenizer(self, params):
        """Gives the property `tokenizer`."""
        return {"tokenizer": self.tokenizer}

    def increment(self, params):
        """Adds `by`, which is 1 unless it is given, to the counter."""
        self.counter += params.get("by", 1)
        return {"counter": self.counter}

    def reset(self, params):
        """Sets the counter back to 0."""
        self.counter = 0
        return {"counter": self.counter}

    def testStream(self, params):
        """Sends five partial results."""
        for step in range(1, 6):
            self.send({"step": step, "of": 5})
            time.sleep(0.02)
        return {"done": True}
