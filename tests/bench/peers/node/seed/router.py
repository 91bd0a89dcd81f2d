"""The seed's router: JSON messages on stdin, answers on stdout, each flushed."""

import json
import sys

from controller import Controller


class Router:
    def __init__(self):
        self.controller = Controller()
        self.controller.set_stream_func(self.stream)

    def stream(self, data):
        print("__STREAM__" + json.dumps(data), flush=True)

    def handle(self, line):
        message = json.loads(line)
        method = getattr(self.controller, message["method"], None)
        if method is None:
            return {"error": f"Unknown method: {message['method']}"}
        try:
            return {"result": method(message.get("params", {}))}
        except Exception as error:
            return {"error": str(error)}

    def run(self):
        for line in sys.stdin:
            print(json.dumps(self.handle(line)), flush=True)


if __name__ == "__main__":
    Router().run()
