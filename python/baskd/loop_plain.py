"""The loop of a controller that has no async method: read, handle, write. It never imports asyncio."""

from __future__ import annotations

from typing import Any, Callable

from .router import Router


class PlainLoop:
    """Blocks in read() while there is nothing to do."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def call(self, function: Callable[[], Any]) -> None:
        """Runs a hook."""
        function()

    def close(self) -> None:
        """There is nothing to close."""

    def serve(self) -> None:
        """Returns when the input has ended, and every call has."""
        router, pump, reader, generators = self._router, self._router.pump, self._router.reader, self._router.generators
        while True:
            pump.run()
            if generators.runnable:
                generators.turn()
                reader.look()
            elif not pump.messages and not reader.blocks and not reader.controls:
                router.about_to_wait()
                if not reader.wait():
                    break
        self._finish()

    def _finish(self) -> None:
        router = self._router
        for call in list(router.live.values()):
            if call.generator is not None and not call.method.concurrent:  # type: ignore[union-attr]
                router.generators.cancel(call)  # It is parked, and nobody will give it credit.
        router.about_to_wait()
        router.sending.wait_for_calls()
