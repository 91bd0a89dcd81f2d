"""The calls of the daemon's own: `on_snapshot` and `on_restore` of the controller, which no client can call."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any, Callable

from .methods import Method

SNAPSHOT, RESTORE = "on_snapshot", "on_restore"


def hooks(controller: object, set_again: Callable[[dict[str, Any]], Any]) -> dict[str, Method]:
    """Those of the two that the controller has, as methods.

    `on_restore` is called with the state, and then the properties are set again by `set_again`: they are newer than
    any snapshot.
    """
    found = {}
    on_snapshot = getattr(controller, SNAPSHOT, None)
    if callable(on_snapshot):
        found[SNAPSHOT] = Method(SNAPSHOT, on_snapshot)
    on_restore = getattr(controller, RESTORE, None)
    if callable(on_restore):
        found[RESTORE] = Method(RESTORE, _restoring(on_restore, set_again))
    return found


def _restoring(on_restore: Callable[[Any], Any], set_again: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    if iscoroutinefunction(on_restore):

        async def restore_in_loop(state: Any, properties: Any) -> None:
            await on_restore(state)
            set_again(properties)

        return restore_in_loop

    def restore(state: Any, properties: Any) -> None:
        on_restore(state)
        set_again(properties)

    return restore
