"""From start to end: take the descriptors, load the controller, serve, stop."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from time import sleep
from typing import Any, Callable, Optional

from . import codec as codecs
from . import descriptors, errors, hooks, loading, page, printing, sources
from ._version import VERSION
from .dialects import DaemonDialect, SeedDialect
from .loop_plain import PlainLoop
from .methods import Method, discover, written
from .router import Router, needs_asyncio
from .wire import Outbox, Reader

PROTOCOL = 1

# How long threads of the controller's own may go on after everything else has ended, in seconds.
_EXIT_GRACE = 1.5


class StartError(Exception):
    """The controller can't be served; `stage` is where that came out, `cause` what it was."""

    def __init__(self, stage: str, cause: BaseException) -> None:
        super().__init__(stage)
        self.stage = stage
        self.cause = cause


class NoMethods(Exception):
    """A controller that has nothing to call."""


def run(controller: Optional[str], example: str) -> int:
    """Runs a router until its input ends; gives the exit status.

    `controller` says which one to load where there is no daemon to say it; `example` is the file to load where nobody
    says.
    """
    taken = descriptors.take()
    codec = codecs.choose()
    reader, outbox = Reader(taken.wire_in), Outbox(taken.wire_out)
    _give_way(example)
    if taken.page is None:
        return _run_alone(loading.parse(controller or example), codec, reader, outbox)
    printing.install()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The daemon ends its Python; a terminal's Ctrl-C is not for it.
    return _run_for_daemon(page.attach(taken.page), example, codec, reader, outbox, taken.wire_out)


def _give_way(example: str) -> None:
    """Moves the router's folder to the end of the path: its files' names are common ones, and others' come first."""
    import basecontroller  # noqa: F401 - of that name, the one beside the controller may be the seed's own

    folder = os.path.dirname(example)
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != folder] + [folder]


def _run_alone(spec: loading.Spec, codec: codecs.Codec, reader: Reader, outbox: Outbox) -> int:
    """As the seed did: messages on stdin, answers on stdout, errors to read on stderr."""
    try:
        controller, methods, later = _load(spec, {})
        router = Router(methods, page.private(), codec, SeedDialect(codec), reader, outbox)
        loop = _prepare(router, controller, later)
    except StartError as failed:
        _print_failure(failed)
        return 1
    try:
        loop.serve()
        _stop(loop, controller)
    except KeyboardInterrupt:
        outbox.flush()
        return 128 + signal.SIGINT
    outbox.flush()
    return 0


def _run_for_daemon(
    shared: page.Page, example: str, codec: codecs.Codec, reader: Reader, outbox: Outbox, wire_out: int
) -> int:
    reader.on_end = threading.Thread(target=_end_with_daemon, args=(wire_out,), daemon=True).start
    if not reader.wait():
        return 0
    dialect = DaemonDialect(codec)
    hello = dialect.decode(reader.first_line())["hello"]
    spec = None
    try:
        if hello["protocol"] != PROTOCOL:
            mismatch = f"The daemon speaks protocol {hello['protocol']}, this router {PROTOCOL}."
            raise StartError("import", loading.LoadError(mismatch))
        spec = loading.from_hello(hello["controller"], example)
        controller, methods, later = _load(spec, hello.get("properties") or {})
        _add_hooks(controller, methods)
        router = Router(methods, shared, codec, dialect, reader, outbox)
        router.window = hello.get("window") or router.window
        printing.Printed.router = router
        loop = _prepare(router, controller, later)
    except StartError as failed:
        _print_failure(failed)
        failure = errors.failure(failed.stage, failed.cause, sources.of_failure(spec, failed.cause))
        outbox.lines.append(b'{"failed":%b}' % codec.encode(failure))
        outbox.flush()
        return _ending(1)
    outbox.lines.append(b'{"ready":%b}' % codec.encode(_described(controller, methods, codec, spec)))
    outbox.flush()

    loop.serve()
    _stop(loop, controller)
    outbox.flush()
    return _ending(0)


def _load(spec: loading.Spec, properties: dict[str, Any]) -> tuple[Any, dict[str, Method], dict[str, Any]]:
    """The controller, constructed, with its properties set; its methods; and the properties to try again later."""
    try:
        cls = loading.load(spec)
    except BaseException as problem:
        raise StartError("import", problem) from None
    try:
        controller = cls()
        methods = discover(controller)
        if len(methods) == 2:
            raise NoMethods(f"{cls.__name__} has no methods to call; public functions of the class are.")
        setter = methods["setProperty"]
        # One that is async can't run before there is a loop.
        later = properties if setter.is_async else _left(hooks.put_back(setter, properties))
    except BaseException as problem:
        raise StartError("construct", problem) from None
    return controller, methods, later


def _give_send(controller: Any, send: Callable[[Any], None]) -> None:
    """In BaseController's way; any other class that has no `send` of its own is lent one."""
    if hasattr(controller, "set_stream_func"):
        controller.set_stream_func(send)
    elif not hasattr(controller, "send"):
        try:
            controller.send = send
        except AttributeError:
            pass  # __slots__, and no room for it.


def _left(refused: hooks.Refusals) -> dict[str, Any]:
    """The properties that could not be set: they may need what `on_start` makes."""
    return {name: value for name, value, _ in refused}


def _add_hooks(controller: Any, methods: dict[str, Method]) -> None:
    try:
        methods.update(hooks.discover(controller, methods["setProperty"]))
    except BaseException as problem:
        raise StartError("construct", problem) from None


def _prepare(router: Router, controller: Any, later: dict[str, Any]) -> Any:
    """Ties the controller to the router, and starts it; gives the loop that will serve it.

    `later` are the properties that could not be set before `on_start`.
    """
    on_start = getattr(controller, "on_start", None)
    router.install()
    loop: Any = PlainLoop(router)
    if needs_asyncio(router.methods) or _is_async(on_start) or _is_async(getattr(controller, "on_stop", None)):
        from .loop_async import AsyncLoop

        loop = AsyncLoop(router)
    setter = router.methods["setProperty"]
    try:
        _give_send(controller, router.sending.send)
        if setter.is_async:
            later = _left(_put_back(loop, setter, later))
        if on_start is not None:
            loop.call(on_start)
        hooks.complain(_put_back(loop, setter, later))
    except BaseException as problem:
        raise StartError("on_start", problem) from None
    return loop


def _put_back(loop: Any, setter: Method, properties: dict[str, Any]) -> hooks.Refusals:
    if not setter.is_async:
        return hooks.put_back(setter, properties)
    refused: hooks.Refusals = []

    async def put_back() -> None:
        refused.extend(await hooks.put_back_async(setter, properties))

    loop.call(put_back)
    return refused


def _is_async(hook: Optional[Callable[[], Any]]) -> bool:
    from inspect import iscoroutinefunction

    return iscoroutinefunction(hook)


def _stop(loop: Any, controller: Any) -> None:
    on_stop = getattr(controller, "on_stop", None)
    try:
        if on_stop is not None:
            loop.call(on_stop)
        loop.close()
    except Exception as problem:
        print(errors.traceback_of(problem), file=sys.stderr, end="")


def _described(controller: Any, methods: dict[str, Method], codec: codecs.Codec, spec: loading.Spec) -> dict[str, Any]:
    cls = type(controller)
    doc = cls.__dict__.get("__doc__")
    return {
        "protocol": PROTOCOL,
        "version": VERSION,
        "pid": os.getpid(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "codec": codec.name,
        "controller": cls.__name__,
        "doc": written(doc.strip()) if isinstance(doc, str) else None,
        "stateless": bool(getattr(cls, "stateless", False)),
        "methods": [method.described() for method in methods.values() if not method.hidden],
        "hooks": [method.name for method in methods.values() if method.hidden],
        "files": sources.of_controller(spec, cls),
    }


def _print_failure(failed: StartError) -> None:
    if isinstance(failed.cause, (loading.LoadError, NoMethods)):
        print(f"baskd: {failed.cause}", file=sys.stderr)
    else:
        print(errors.traceback_of(failed.cause), file=sys.stderr, end="")


def _ending(status: int) -> int:
    """Lets Python end as it does, with its atexit handlers; but threads of the controller's own have only so long."""
    done = threading.Event()
    # Both now: once it is ending, Python starts no threads any more.
    threading.Thread(target=_run_handlers_late, args=(done,), daemon=True).start()
    threading.Thread(target=_lose_patience, args=(done, status), daemon=True).start()
    return status


def _run_handlers_late(done: threading.Event) -> None:
    """Runs the handlers to which a main thread that waits for other threads does not come."""
    import atexit

    sleep(_EXIT_GRACE)
    atexit._run_exitfuncs()
    done.set()


def _lose_patience(done: threading.Event, status: int) -> None:
    done.wait(2 * _EXIT_GRACE)  # The handlers have only so long, either.
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:  # Whatever has become of them.
        os._exit(status)


def _end_with_daemon(wire_out: int) -> None:
    """Ends at once when the wire's other end is gone: whatever still goes on, it is for nobody."""
    gone = select.poll()
    gone.register(wire_out, 0)
    gone.poll()
    os._exit(1)
