"""Variants: choices worth keeping beside each other, with what was measured of them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count

from psygnal import Signal

from studio.evaluation.result import Measurement, Result
from studio.session.project import Choice
from studio.session.runs import TrainedRun


@dataclass(frozen=True)
class Variant:
    """One kept choice.

    Attributes:
        id: unique within the session.
        name: for a person.
        parent: id of the variant it was made from, None for the original.
        choice: recipe and weights.
        bytes: predicted size of its file.
        result: what was measured, None as long as nothing was.
        run: the distillation that its weights are from, None for others.
    """

    id: int
    name: str
    parent: int | None
    choice: Choice
    bytes: int
    result: Result | None = None
    run: TrainedRun | None = None


class Variants:
    """Every variant of the open model, oldest first.

    Attributes:
        all: the variants; the original is the first.
        changed: emitted when one was added or measured.
    """

    changed = Signal()

    def __init__(self) -> None:
        self._numbers = count(1)
        self.all: list[Variant] = []

    @property
    def kept(self) -> list[Variant]:
        """Those that the user has kept: neither the original nor what distillations gave, which come back anyway."""
        return [variant for variant in self.all[1:] if variant.run is None]

    def begin(self, size: int, runs: Iterable[TrainedRun]) -> None:
        """Forgets every variant: another model is open.

        Args:
            size: bytes of the original.
            runs: what distillations of earlier sessions gave, made from the original.
        """
        self.all = []
        original = self.add("Original", Choice(), size, None)
        for run in runs:
            self.add_run(run, original.id)

    def add(
        self,
        name: str,
        choice: Choice,
        size: int,
        result: Result | None,
        parent: int | None = None,
        run: TrainedRun | None = None,
    ) -> Variant:
        """Keeps `choice`; its parent is the newest variant unless another one is named."""
        parent = parent if parent is not None or not self.all else self.all[-1].id
        variant = Variant(next(self._numbers), name, parent, choice, size, result, run)
        self.all.append(variant)
        self.changed.emit()
        return variant

    def add_run(self, run: TrainedRun, parent: int | None = None) -> Variant:
        """Keeps what a distillation gave; see `add`."""
        return self.add(run.name, run.choice, run.bytes, None, parent, run)

    def measured(self, choice: Choice, result: Result, size: int) -> None:
        """Notes `result` and `size` for every variant of exactly this choice, and what it tells of the original."""
        renewed = [
            replace(variant, result=result, bytes=size) if variant.choice == choice else variant for variant in self.all
        ]
        if renewed and renewed[0].result is None and result.original is not None:  # a restored project begins elsewhere
            renewed[0] = replace(renewed[0], result=_of_original(result, result.original))
        if renewed != self.all:
            self.all = renewed
            self.changed.emit()


def _of_original(result: Result, value: Measurement) -> Result:
    """What a measurement of another choice tells of the original, which was measured beside it."""
    none = Measurement(value.name, 0.0, 0.0, 0.0, value.samples)
    return Result(value, value, none, result.total, result.labelled, fit=result.fit)
