"""Properties of every kind."""

from basecontroller import BaseController


class Controller(BaseController):
    limit = 10

    def __init__(self):
        self._checked = None
        self.order = []

    def on_start(self):
        self.at_start = getattr(self, "model", None)

    def on_stop(self):
        print(f"stopped with {getattr(self, 'model', None)}")

    def __setattr__(self, name, value):
        if hasattr(self, "order") and not name.startswith("_"):
            self.order.append(name)
        super().__setattr__(name, value)

    def seen_at_start(self):
        return self.at_start

    def in_order(self):
        return self.order

    @property
    def checked(self):
        return self._checked

    @checked.setter
    def checked(self, value):
        if value != "good":
            raise ValueError(f"{value!r} is not good")
        self._checked = value.upper()

    @property
    def read_only(self):
        return "constant"

    @property
    def broken(self):
        return self.does_not_exist

    def _hidden(self):
        return None
