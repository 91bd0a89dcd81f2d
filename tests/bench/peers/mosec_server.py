"""The Controller behind mosec: mosec_server.py --address HOST --port PORT.

/increment takes one call at a time; /batched lets mosec collect calls for up to a millisecond, which is what it is for.
"""

from controller import Controller
from mosec import Server, Worker

BATCH = 64


class Single(Worker):
    def __init__(self) -> None:
        self.controller = Controller()

    def forward(self, data: dict[str, int]) -> dict[str, int]:
        return self.controller.increment(data)


class Batched(Worker):
    def __init__(self) -> None:
        self.controller = Controller()

    def forward(self, data: list[dict[str, int]]) -> list[dict[str, int]]:
        return [self.controller.increment(one) for one in data]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Single, route="/increment")
    server.append_worker(Batched, route="/batched", max_batch_size=BATCH, max_wait_time=1)
    server.run()
