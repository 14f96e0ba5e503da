"""Undo and redo over whole states with a cursor.

States are small immutable values (a recipe is a few kB), so they are kept whole instead of as do/undo pairs. A step
that carries the merge key of the step before it replaces that step, so that one slider drag is one step; `seal` ends
the drag.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State")

#: Steps kept: a long afternoon of clicking, well below a megabyte.
LONGEST = 500


@dataclass(frozen=True)
class Step(Generic[State]):
    """A state and what led to it, in words for the undo menu."""

    state: State
    label: str
    merge: str | None = None


class History(Generic[State]):
    """A list of steps with a cursor; everything behind the cursor can be redone until a new step is made."""

    def __init__(self, state: State, label: str = "Open") -> None:
        self._steps = [Step(state, label)]
        self._cursor = 0

    @classmethod
    def restored(cls, steps: list[Step[State]], cursor: int) -> "History[State]":
        """A history as it was saved; `steps` holds at least one step and `cursor` is the index of one."""
        history = cls(steps[0].state, steps[0].label)
        history._steps, history._cursor = list(steps), cursor
        return history

    @property
    def state(self) -> State:
        """The state at the cursor."""
        return self._steps[self._cursor].state

    @property
    def steps(self) -> tuple[Step[State], ...]:
        """Every step, oldest first."""
        return tuple(self._steps)

    @property
    def cursor(self) -> int:
        """Index of the step that holds now."""
        return self._cursor

    @property
    def undo_label(self) -> str | None:
        """What an undo would take back, None when there is nothing."""
        return self._steps[self._cursor].label if self._cursor > 0 else None

    @property
    def redo_label(self) -> str | None:
        """What a redo would bring back, None when there is nothing."""
        return self._steps[self._cursor + 1].label if self._cursor + 1 < len(self._steps) else None

    def push(self, state: State, label: str, merge: str | None = None) -> bool:
        """Makes a new step, or renews the last one when `merge` is its key; an equal state changes nothing.

        Returns:
            Whether the state changed.
        """
        if state == self.state:
            return False
        del self._steps[self._cursor + 1 :]
        if merge is not None and self._steps[-1].merge == merge:
            self._steps[-1] = Step(state, label, merge)
        else:
            self._steps.append(Step(state, label, merge))
            del self._steps[:-LONGEST]
        self._cursor = len(self._steps) - 1
        return True

    def seal(self) -> None:
        """Ends a merged edit: the next push is a step of its own."""
        last = self._steps[self._cursor]
        self._steps[self._cursor] = Step(last.state, last.label)

    def undo(self) -> bool:
        """Goes one step back; False when there is none."""
        if self._cursor == 0:
            return False
        self._cursor -= 1
        self.seal()  # an edit from here on is another one
        return True

    def redo(self) -> bool:
        """Goes one step forward; False when there is none."""
        if self._cursor + 1 >= len(self._steps):
            return False
        self._cursor += 1
        return True
