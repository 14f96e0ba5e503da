"""How long the choices of a project take in their runtime: measured when asked, and known as long as nothing changes.

An edit ends a measurement under way. What was measured of another choice is never shown as that of the present one:
`current` is None then, and `previous` has the last figure for whoever says that it is from before the edit.
"""

from collections.abc import Callable
from dataclasses import replace

from psygnal import Signal

from studio.engine.door import Call, Lane
from studio.engine.requests import MeasureLatency
from studio.export.latency import Latency, LatencySettings
from studio.progress import Progress
from studio.session.asking import Asker
from studio.session.project import Choice, Project

Key = tuple[str, str | None, str]

#: Choices whose latency is at hand without a key.
_REMEMBERED = 32


class Latencies:
    """Latencies by choice.

    Attributes:
        previous: the last one measured of the open model, whatever the choice; None before the first.
        measuring: whether one is under way.
        progress: of the one under way.
        failure: why the last one failed, in words; empty otherwise.
        changed: emitted when any of these changed.
    """

    changed = Signal()

    def __init__(self, asker: Asker, explain: Callable[[BaseException], str]) -> None:
        self._asker = asker
        self._explain = explain
        self._known: dict[Key, Latency] = {}
        self._asked: dict[int, tuple[Choice, Latency | None]] = {}
        self._settings = LatencySettings()
        self._call: Call[Latency] | None = None
        self.measuring = False
        self.previous: Latency | None = None
        self.progress: Progress | None = None
        self.failure = ""

    def of(self, choice: Choice) -> Latency | None:
        """The latency of a choice with the threads and the batch of now, None when it was not measured."""
        if not self._known:
            return None
        asked, found = self._asked.get(id(choice), (None, None))
        if asked is not choice:  # the table asks for every cell, and a key takes long to make
            found = self._known.get(_key(choice, self._settings))
            self._asked = {**(self._asked if len(self._asked) < _REMEMBERED else {}), id(choice): (choice, found)}
        return found

    def current(self, project: Project) -> Latency | None:
        """The latency of a project's present choice, None when it was not measured."""
        return self.of(project.history.state)

    def clear(self) -> None:
        """Forgets everything: another model."""
        self._known.clear()
        self.previous, self.failure = None, ""
        self.cancel()

    def cancel(self) -> None:
        """Ends the measurement under way; what is known stays known."""
        if self._call is not None:
            self._call.cancel()
        if self.measuring:
            self._end()

    def measure(self, project: Project, settings: LatencySettings) -> None:
        """Measures the project's present choice, anew if it is known.

        Raises:
            ModelFileError: the model cannot be timed.
        """
        project.info.require("time")
        self.cancel()
        self._settings, self._asked = settings, {}
        self.failure = ""
        choice = project.history.state

        def measured(latency: Latency) -> None:
            self._known[_key(choice, settings)] = self.previous = latency
            self._known.setdefault(_key(Choice(), settings), _as_it_was(latency))
            self._end()

        def failed(error: BaseException) -> None:
            self.failure = self._explain(error)
            self._end()

        self.measuring = True
        self.changed.emit()
        self._call = self._asker.ask(
            MeasureLatency(project.source(), settings), measured, failed, lane=Lane.BACKGROUND, progress=self._follow
        )

    def _follow(self, progress: Progress) -> None:
        self.progress = progress
        self.changed.emit()

    def _end(self) -> None:
        self.measuring, self.progress = False, None
        self._asked = {}
        self.changed.emit()


def _as_it_was(latency: Latency) -> Latency:
    """What a measurement says of the original alone."""
    return replace(
        latency,
        now=latency.original,
        faster=replace(latency.faster, value=1.0, low=1.0, high=1.0),
        layers=latency.original_layers,
        rest=latency.original_rest,
    )


def _key(choice: Choice, settings: LatencySettings) -> Key:
    return choice.recipe.model_dump_json(exclude_unset=True), choice.weights, f"{settings.threads} {settings.batch}"
