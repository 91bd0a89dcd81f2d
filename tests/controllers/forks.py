"""Makes processes of every kind. None but the router may write to the wire."""

import multiprocessing
import os
import subprocess
import sys
import threading

from basecontroller import BaseController


def square(x):
    print(f"squared {x}")
    return x * x


class Controller(BaseController):
    def __init__(self):
        self.calls = 0

    def echo(self, params):
        self.calls += 1
        return params

    def how_many(self):
        return self.calls

    def fork(self, code: int = 0):
        """A child that does its work and leaves."""
        pid = os.fork()
        if pid == 0:
            print("child here")
            os._exit(code)
        return os.WEXITSTATUS(os.waitpid(pid, 0)[1])

    def fork_and_return(self):
        """A child that goes on as if it were the router."""
        pid = os.fork()
        if pid == 0:
            return "from the child"
        return os.WEXITSTATUS(os.waitpid(pid, 0)[1])

    def fork_and_exit(self, code: int = 7):
        pid = os.fork()
        if pid == 0:
            sys.exit(code)
        return os.WEXITSTATUS(os.waitpid(pid, 0)[1])

    def fork_and_send(self):
        pid = os.fork()
        if pid == 0:
            try:
                self.send("from the child")
            except RuntimeError as refused:
                print(f"child refused: {refused}")
                os._exit(9)
        return os.WEXITSTATUS(os.waitpid(pid, 0)[1])

    def fork_in_a_generator(self):
        yield "before"
        pid = os.fork()
        if pid == 0:
            yield "from the child"
        yield os.WEXITSTATUS(os.waitpid(pid, 0)[1])

    def fork_in_a_thread(self):
        statuses = []

        def work():
            statuses.append(self.fork(5))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return statuses

    def pool(self, method: str = "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            return pool.map(square, [1, 2, 3])

    def descriptors(self):
        """What a child process inherits."""
        listed = subprocess.run(["ls", "-l", "/proc/self/fd"], stdout=subprocess.PIPE, check=True, close_fds=False)
        return listed.stdout.decode()

    def orphan(self, seconds: float = 60):
        """A grandchild that outlives its parent and holds its log pipes open."""
        return subprocess.Popen(["sleep", str(seconds)], close_fds=False).pid


class Async(Controller):
    async def later(self):
        return self.fork_and_return()
