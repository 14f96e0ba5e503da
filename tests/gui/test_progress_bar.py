"""The bar that shows how far a piece of work is."""

import pytest
from PySide6.QtCore import QEvent, QObject

from studio.gui.progress_bar import ProgressBar
from studio.progress import Progress


class Paintings(QObject):
    """Counts how often a widget paints itself."""

    count = 0

    def eventFilter(self, _watched: QObject, event: QEvent) -> bool:
        """Counts."""
        self.count += event.type() == QEvent.Type.Paint
        return False


@pytest.fixture
def bar(qtbot):
    made = ProgressBar("Progress")
    qtbot.addWidget(made)
    with qtbot.waitExposed(made):
        made.show()
    return made


def test_it_shows_the_share_that_is_done_and_no_end_where_nobody_knows(bar):
    bar.show_progress(Progress(3, 8, ""))
    assert (bar.minimum(), bar.value(), bar.maximum()) == (0, 375, 1000)
    bar.show_progress(Progress(3, None, ""))
    assert (bar.minimum(), bar.maximum()) == (0, 0)
    bar.show_progress(Progress(0, 8, ""))
    assert (bar.value(), bar.maximum()) == (0, 1000)


def test_it_paints_with_the_window_and_not_in_the_middle_of_what_tells_it(bar, qtbot):
    paintings = Paintings()
    bar.installEventFilter(paintings)
    for done in range(5):
        bar.show_progress(Progress(done, 8, ""))
    assert paintings.count == 0
    qtbot.waitUntil(lambda: paintings.count > 0)
