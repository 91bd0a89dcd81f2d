"""Can be imported and constructed, but does not start."""

from basecontroller import BaseController


class Controller(BaseController):
    def on_start(self):
        raise RuntimeError("the model is not there")

    def echo(self, params):
        return params
