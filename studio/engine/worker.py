"""The child's side of the engine's door: one thread a lane, one thread that listens."""

import gc
import logging
import os
import sys
import time
import traceback
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

import torch

from studio.engine.door import EngineBugError, Lane
from studio.engine.priority import give_way, give_way_in
from studio.engine.requests import Distill, Request
from studio.engine.workspace import Workspace
from studio.errors import StudioError
from studio.progress import Cancelled, Progress

log = logging.getLogger(__name__)

#: Seconds between two progress messages of one request: more than a person can see would only fill the pipe.
PROGRESS_INTERVAL = 0.05


def serve(connection: Connection, threads: int | None) -> None:
    """Answers requests until the other side is gone.

    Args:
        connection: carries ``("start", number, lane, request)`` and ``("cancel", number)`` in, and
            ``(number, "begun" | "progress" | "value" | "answer" | "error", value)`` out.
        threads: torch threads; None leaves one core to the window.
    """
    give_way()
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 2) - 1))
    worker = _Worker(connection)
    try:
        while True:
            worker.receive(connection.recv())
    except (EOFError, OSError):
        sys.stderr.flush()
        os._exit(0)  # nobody is left to hear an answer: lanes in the middle of one are not waited for


class _Worker:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._workspace = Workspace()
        self._cancelled: set[int] = set()
        self._sending = Lock()
        self._lanes: dict[Lane, SimpleQueue[tuple[int, Request[Any]]]] = {lane: SimpleQueue() for lane in Lane}
        for lane, queue in self._lanes.items():
            Thread(target=self._work, args=(lane, queue), name=lane, daemon=True).start()

    def receive(self, message: tuple[Any, ...]) -> None:
        if message[0] == "cancel":
            self._cancelled.add(message[1])
        else:
            _start, number, lane, request = message
            self._lanes[lane].put((number, request))

    def _work(self, lane: Lane, queue: "SimpleQueue[tuple[int, Request[Any]]]") -> None:
        give_way_in(lane)
        while True:
            number, request = queue.get()
            self._answer(number, request)
            self._cancelled.discard(number)
            if isinstance(request, Distill):  # graphs refer to themselves: their memory would wait for the collector
                gc.collect()

    def _answer(self, number: int, request: Request[Any]) -> None:
        last = 0.0

        def report(progress: Progress) -> None:
            nonlocal last
            self._stop_if_cancelled(number)
            now = time.monotonic()
            if now - last >= PROGRESS_INTERVAL:
                last = now
                self._send(number, "progress", progress)

        def publish(value: object) -> None:
            self._stop_if_cancelled(number)
            self._send(number, "value", value)

        try:
            self._stop_if_cancelled(number)
            self._send(number, "begun", None)
            self._send(number, "answer", self._workspace.answer(request, report, publish))
        except (StudioError, Cancelled) as error:
            self._send(number, "error", error.with_traceback(None))
        except Exception:  # a bug: its traceback goes to the log on the other side
            self._send(number, "error", EngineBugError(traceback.format_exc()))

    def _stop_if_cancelled(self, number: int) -> None:
        if number in self._cancelled:
            raise Cancelled

    def _send(self, number: int, kind: str, value: object) -> None:
        with self._sending:
            self._connection.send((number, kind, value))
