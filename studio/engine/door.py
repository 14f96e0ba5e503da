"""The one door to the engine: hand in a request, get a `Call` to follow or cancel."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event
from typing import Generic, Protocol, TypeVar

from studio.engine.requests import Request
from studio.progress import Report, silent

Answer = TypeVar("Answer")
Publish = Callable[[object], None]


class Lane(StrEnum):
    """Requests of one lane are answered one after the other, those of different lanes side by side.

    ``job`` is for long work in an engine of its own, which goes on at full speed while others look and measure.
    """

    LOOK = "look"
    MEASURE = "measure"
    BACKGROUND = "background"
    JOB = "job"


class EngineBugError(Exception):
    """A bug in an engine of another process: its own traceback, as text, is the message."""


def unpublished(_value: object) -> None:
    """A `Publish` that nobody listens to."""


@dataclass
class Call(Generic[Answer]):
    """A request under way.

    Attributes:
        future: gets the answer, a `StudioError` for the user's mistake, `Cancelled`, or the bug that happened.
    """

    future: Future[Answer] = field(default_factory=Future)
    _cancelled: Event = field(default_factory=Event)
    on_cancel: Callable[[], None] | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Asks the engine to stop at the next progress report; harmless when the answer is there already."""
        if not self._cancelled.is_set():
            self._cancelled.set()
            if self.on_cancel is not None:
                self.on_cancel()

    def result(self) -> Answer:
        """Waits for the answer."""
        return self.future.result()


class Engine(Protocol):
    """What the session and the command line need of an engine, wherever it runs."""

    def start(
        self,
        request: Request[Answer],
        *,
        lane: Lane = Lane.LOOK,
        report: Report = silent,
        publish: Publish = unpublished,
    ) -> Call[Answer]:
        """Begins answering `request`.

        Args:
            request: what is asked.
            lane: requests of one lane wait for each other.
            report: receives progress, on a thread of the engine's choice.
            publish: receives intermediate values, in order, on the same thread.
        """
        ...

    def close(self) -> None:
        """Ends the engine and everything under way."""
        ...
