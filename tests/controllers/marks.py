"""Says which of its calls have begun, to see whether the shared page says the same. One method of each kind."""

import asyncio
import os
import signal
import sys

import baskd

FILE = os.open(os.environ["MARKS"], os.O_WRONLY | os.O_APPEND)


def entered(number, then=""):
    """The first thing that any of these methods does. One write: a process that dies leaves no part of it."""
    os.write(FILE, b"%d %d\n" % (os.getpid(), number))
    if then == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if then == "leave a child":
        if os.fork() == 0:
            return
        os.wait()


class Controller:
    def plain(self, number: int, then: str = ""):
        entered(number, then)
        return number

    def generator(self, number: int, then: str = ""):
        entered(number, then)
        yield number
        return number

    @baskd.concurrent
    def beside(self, number: int, then: str = ""):
        entered(number, then)
        return number

    @baskd.concurrent
    def generator_beside(self, number: int, then: str = ""):
        entered(number, then)
        yield number
        return number

    @baskd.concurrent
    def holds(self):
        """Keeps its thread until the call is cancelled."""
        import time

        while not baskd.cancelled():
            time.sleep(0.01)

    def waits(self):
        """Keeps the main thread until the call is cancelled."""
        import time

        time.sleep(60)

    def die(self):
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)


class Patient:
    """Has the router take every call for a quick one, so that what was read together begins together."""

    def __init__(self):
        import baskd.pump

        baskd.pump.SLOW = 60.0


class Async(Controller):
    async def coroutine(self, number: int, then: str = ""):
        entered(number, then)
        await asyncio.sleep(0)
        return number

    async def async_generator(self, number: int, then: str = ""):
        entered(number, then)
        yield number

    async def awaits(self):
        await asyncio.sleep(60)

    async def cancel_all(self):
        """Cancels whatever runs in the loop, the calls of others too."""
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


class PatientAsync(Patient, Async):
    pass
