"""The methods that the examples of the JSON-RPC 2.0 specification call."""

from basecontroller import BaseController


class Controller(BaseController):
    def __init__(self):
        self.notified = []

    def subtract(self, minuend, subtrahend):
        return minuend - subtrahend

    def sum(self, *numbers):
        return sum(numbers)

    def get_data(self):
        return ["hello", 5]

    def update(self, *values):
        self.notified.append(["update", *values])

    def notify_hello(self, *values):
        self.notified.append(["notify_hello", *values])

    def notify_sum(self, *values):
        self.notified.append(["notify_sum", *values])

    def echo(self, params):
        return params
