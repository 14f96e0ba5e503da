"""A progress bar that waits for the window's next painting."""

from PySide6.QtWidgets import QProgressBar

from studio.progress import Progress

#: Parts of a whole that a bar tells apart.
_PARTS = 1000


class ProgressBar(QProgressBar):
    """How far a piece of work is, a bar without an end where nobody knows.

    `QProgressBar` paints itself at once whenever it is told anything, the same again included, and with it whatever
    else of the window waits to be painted; so it is told only what is new, and without painting.

    Args:
        name: its accessible name.
        thin: a line, as beside other figures.
    """

    def __init__(self, name: str, *, thin: bool = False) -> None:
        super().__init__()
        self.setTextVisible(False)
        self.setAccessibleName(name)
        if thin:
            self.setProperty("role", "thin")
        self.show_progress(None)

    def show_progress(self, progress: Progress | None) -> None:
        """Shows the share that is done."""
        fraction = progress.fraction if progress is not None else None
        ends, done = (0, 0) if fraction is None else (_PARTS, round(_PARTS * fraction))
        if (self.maximum(), self.value()) == (ends, done):
            return
        self.setUpdatesEnabled(False)
        self.setRange(0, ends)
        self.setValue(done)
        self.setUpdatesEnabled(True)
