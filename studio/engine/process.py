"""The engine in a child process: what the window uses, so that it stays fluid and survives whatever happens there.

Two threads serve one worker, so that the caller never waits: one sends, the other starts the worker and receives.
A worker that dies fails the calls under way with `EngineStoppedError`; the next request starts another one. So does a
worker that is ended because a file takes more than it may, or that dies over one; the call that opened it then says so,
see `bounds`.
"""

import logging
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, TypeVar

from studio.engine.bounds import Bounds, Watched, bounds_of, own_memory
from studio.engine.door import Call, Lane, Publish, unpublished
from studio.engine.requests import Request
from studio.errors import EngineStoppedError, StudioError
from studio.progress import Report, silent

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)

#: Seconds between two looks at a worker that opens a file.
LOOKING = 0.1

ENGINE_ENDED = "The engine stopped unexpectedly (exit code {})."


@dataclass
class _Pending:
    """A call under way; `watched` while a file is parsed for it, `excess` once that has taken more than it may."""

    request: Request[Any]
    call: Call[Any]
    report: Report
    publish: Publish
    watched: Watched | None = None
    excess: StudioError | None = None


@dataclass
class _Worker:
    """One child process and the calls it owes an answer."""

    outbox: SimpleQueue[object] = field(default_factory=SimpleQueue)
    pending: dict[int, _Pending] = field(default_factory=dict)
    process: Any = None


class ProcessEngine:
    """Answers requests in a child process that is started by the first one.

    Args:
        threads: torch threads of the worker; None leaves one core to the window.
        on_stop: told, on a thread of the engine's own, when a worker died on its own.
        bounds: what a request may take, None for any amount.
        memory: bytes that the process of an id holds; None where that cannot be told.
        clock: seconds.
    """

    def __init__(
        self,
        threads: int | None = None,
        on_stop: Callable[[str], None] | None = None,
        bounds: Callable[[Request[Any]], Bounds | None] = bounds_of,
        memory: Callable[[int], int | None] = own_memory,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._threads = threads
        self._on_stop = on_stop
        self._bounds, self._memory, self._clock = bounds, memory, clock
        self._worker: _Worker | None = None
        self._lock = Lock()
        self._numbers = count()

    @property
    def process_id(self) -> int | None:
        """The worker's process id, None while there is no worker."""
        process = self._worker.process if self._worker else None
        return process.pid if process else None

    def start(
        self,
        request: Request[Answer],
        *,
        lane: Lane = Lane.LOOK,
        report: Report = silent,
        publish: Publish = unpublished,
    ) -> Call[Answer]:
        """See `studio.engine.door.Engine.start`; `report` and `publish` are called on a thread of the engine's own."""
        call: Call[Answer] = Call()
        pending = _Pending(request, call, report, publish)
        with self._lock:
            worker = self._worker or self._begin()
            number = next(self._numbers)
            worker.pending[number] = pending
        call.on_cancel = lambda: worker.outbox.put(("cancel", number))
        worker.outbox.put(("start", number, lane, request))
        return call

    def close(self) -> None:
        """Ends the worker; calls under way fail with `EngineStoppedError`."""
        with self._lock:
            worker, self._worker = self._worker, None
            process = worker.process if worker is not None else None
        if worker is not None:
            worker.outbox.put(None)
        if process is not None:
            process.terminate()

    def _begin(self) -> _Worker:
        worker = self._worker = _Worker()
        Thread(target=self._serve, args=(worker,), name="engine-receive", daemon=True).start()
        return worker

    def _serve(self, worker: _Worker) -> None:
        """Starts the child, hands its messages on until it ends, then fails what it still owed."""
        try:
            self._run(worker)
        finally:
            self._bury(worker)

    def _run(self, worker: _Worker) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_child, args=(theirs, self._threads), name="engine", daemon=True)
        process.start()
        theirs.close()
        with self._lock:  # a process that has not started yet cannot be ended: until now `close` did not see it
            worker.process, wanted = process, self._worker is worker
        if not wanted:
            process.terminate()
        sender = Thread(target=_send, args=(worker.outbox, ours), name="engine-send", daemon=True)
        sender.start()
        try:
            while True:
                if not self._within_bounds(worker) or ours.poll(LOOKING):
                    self._receive(worker, ours.recv())
        except (EOFError, OSError):
            process.join()
        except BaseException:  # a bug on this side: nobody would hear the child any more
            process.kill()
            process.join()
            raise
        finally:
            worker.outbox.put(None)
            sender.join()
            ours.close()

    def _within_bounds(self, worker: _Worker) -> bool:
        """Ends a worker in which a file takes more than it may; whether there is one to look at again soon."""
        with self._lock:
            looked_at = [pending for pending in worker.pending.values() if pending.watched and not pending.excess]
        for pending in looked_at:
            pending.excess = pending.watched.excess() if pending.watched else None
            if pending.excess:
                worker.process.kill()
        return bool(looked_at)

    def _receive(self, worker: _Worker, message: tuple[int, str, Any]) -> None:
        number, kind, value = message
        pending = worker.pending[number]
        if pending.excess:
            return  # the worker has been ended over it: what it still had to say comes too late
        if kind == "begun":
            bounds = self._bounds(pending.request)
            if bounds is not None:
                pending.watched = Watched(bounds, worker.process.pid, self._memory, self._clock)
        elif kind == "progress":
            pending.report(value)
        elif kind == "value":
            pending.publish(value)
        else:
            with self._lock:
                del worker.pending[number]
            if kind == "answer":
                pending.call.future.set_result(value)
            else:
                pending.call.future.set_exception(value)

    def _bury(self, worker: _Worker) -> None:
        """Fails the calls of a worker that has ended and tells whoever wants to know."""
        code = worker.process.exitcode if worker.process is not None else None
        reason = "The engine cannot be started." if code is None else ENGINE_ENDED.format(code)
        with self._lock:
            unasked = self._worker is worker
            if unasked:
                self._worker = None
            owed = list(worker.pending.values())
            worker.pending.clear()
        told = all(pending.watched for pending in owed) and bool(owed)
        for pending in owed:
            crash = pending.watched.bounds.crash(code) if pending.watched and unasked else EngineStoppedError(reason)
            pending.call.future.set_exception(pending.excess or crash)
        if unasked:
            log.log(logging.INFO if told else logging.WARNING, reason)
            if self._on_stop is not None:
                self._on_stop(reason)


def _send(outbox: "SimpleQueue[object]", connection: Connection) -> None:
    """Sends what the callers hand in until None comes or nobody receives any more."""
    while (message := outbox.get()) is not None:
        try:
            connection.send(message)
        except OSError:
            return  # the worker has ended: the receiving thread tells the callers


def _child(connection: Connection, threads: int | None) -> None:
    """The child's first function; by name, because importing the worker here would load torch into the window."""
    import_module("studio.engine.worker").serve(connection, threads)
