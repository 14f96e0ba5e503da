"""Asks the engine and brings every answer to the main thread."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from psygnal import EmitLoopError

from studio.engine.door import Call, Engine, Lane
from studio.engine.requests import Request
from studio.errors import StudioError
from studio.progress import Cancelled, Progress

log = logging.getLogger(__name__)

#: Tone of a notice that tells an error.
BAD = "bad"

Answer = TypeVar("Answer")
Dispatch = Callable[[Callable[[], None]], None]


class Deliveries:
    """Has actions done on the main thread until it is closed: what hears of answers may be gone by then.

    Args:
        dispatch: has an action done on the main thread, soon.
    """

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._is_open = True

    def __call__(self, action: Callable[[], None]) -> None:
        """Has `action` done, unless all was closed before its turn came."""
        self._dispatch(lambda: action() if self._is_open else None)

    def close(self) -> None:
        """Drops what is still on its way. On the main thread."""
        self._is_open = False


class Asker:
    """An engine whose answers arrive on the main thread.

    Args:
        engine: answers on threads of its own.
        dispatch: has an action done on the main thread, soon.
    """

    def __init__(self, engine: Engine, dispatch: Dispatch) -> None:
        self.engine = engine
        self._dispatch = dispatch

    def ask(
        self,
        request: Request[Answer],
        then: Callable[[Answer], None],
        failed: Callable[[BaseException], None],
        *,
        lane: Lane = Lane.LOOK,
        progress: Callable[[Progress], None] | None = None,
        published: Callable[[Any], None] | None = None,
    ) -> Call[Answer]:
        """Begins `request`; exactly one of `then` and `failed` follows, unless the call is cancelled first."""
        call: Call[Answer] | None = None

        def deliver(handler: Callable[[Any], None] | None, value: object) -> None:
            if handler is not None and not (call is not None and call.is_cancelled):
                self._dispatch(lambda: handler(value) if call is None or not call.is_cancelled else None)

        def finished(future: Future[Answer]) -> None:
            error = future.exception()
            if error is None:
                deliver(then, future.result())
            elif isinstance(error, Cancelled):
                return
            else:
                deliver(failed, error)

        call = self.engine.start(
            request,
            lane=lane,
            report=lambda value: deliver(progress, value),
            publish=lambda value: deliver(published, value),
        )
        call.future.add_done_callback(finished)
        return call


def mistake(error: BaseException) -> StudioError | None:
    """The user's mistake that an error stands for, be it one that a signal's listener met with; None for a bug."""
    while isinstance(error, EmitLoopError) and error.__cause__ is not None:
        error = error.__cause__
    return error if isinstance(error, StudioError) else None


def explain(error: BaseException) -> str:
    """One line for a person; a bug goes to the log with its traceback."""
    if (known := mistake(error)) is not None:
        return str(known)
    log.error("the engine failed", exc_info=error)
    return "Something went wrong inside the studio; the log has the details."
