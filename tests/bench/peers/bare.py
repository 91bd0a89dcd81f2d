"""The Controller as pythonia likes it best: plain numbers in and out, for an object on either side would be a proxy,
whose every use is a call of its own."""

from controller import Controller

controller = Controller()


def increment(by):
    return controller.increment({"by": by})["counter"]


def items(count):
    for item in controller.items({"count": count}):
        yield item["item"]
