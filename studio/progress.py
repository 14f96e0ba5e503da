"""Reporting progress is where cancelling happens.

A long function takes `report`, a callable, and calls it with a `Progress` now and then. Whoever wants the function
to stop raises `Cancelled` from inside that call; so the same function works under a terminal bar, in a worker
process and in a test, and needs no second channel for cancelling.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is.

    Attributes:
        done: units finished.
        total: units in all, or None while unknown.
        message: what is being done, in a few words for a person.
    """

    done: int
    total: int | None
    message: str

    @property
    def fraction(self) -> float | None:
        """Share done in 0..1, None while the total is unknown."""
        return self.done / self.total if self.total else None


Report = Callable[[Progress], None]


class Cancelled(Exception):  # noqa: N818 (not an error: the user asked for it)
    """Raised out of a `Report` call when the user has cancelled."""


def silent(_progress: Progress) -> None:
    """A `Report` that nobody listens to."""
