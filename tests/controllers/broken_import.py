"""Can't be imported."""

from basecontroller import BaseController


def helper():
    raise ModuleNotFoundError("No module named 'a_library_that_is_not_installed'")


helper()


class Controller(BaseController):
    def echo(self, params):
        return params
