"""Never gets ready: its import waits for ever."""

import threading

print("never_ready.py: waiting", flush=True)
threading.Event().wait()


class Controller:
    def echo(self, params):
        return params
