"""Work in turns of the event loop, and plots that draw in theirs."""

import pytest
from PySide6.QtCore import QEventLoop, QObject, QTimer
from PySide6.QtGui import QImage
from pytestqt.qtbot import QtBot
from shiboken6 import delete

from studio.gui.plots import Plot, pen
from studio.gui.theme import Theme
from studio.gui.turns import Turns

RED = "#ff0000"


@pytest.fixture
def turns(theme: Theme) -> Turns:
    return theme.turns


def test_each_owner_has_a_turn_of_its_own_in_the_order_of_asking(turns: Turns, qtbot: QtBot):
    done: list[str] = []
    first, second = QObject(), QObject()
    turns.soon(first, lambda: done.append("first"))
    turns.soon(second, lambda: done.append("second"))
    turns.soon(first, lambda: done.append("first, newer"))
    assert done == []
    loop = QEventLoop()
    QTimer.singleShot(0, loop.quit)
    loop.exec()
    assert done == ["first, newer"]
    qtbot.waitUntil(lambda: turns.are_over)
    assert done == ["first, newer", "second"]


def test_work_may_ask_for_the_next_turn(turns: Turns, qtbot: QtBot):
    owner, done = QObject(), []

    def again() -> None:
        done.append(len(done))
        if len(done) < 3:
            turns.soon(owner, again)

    turns.soon(owner, again)
    qtbot.waitUntil(lambda: turns.are_over)
    assert done == [0, 1, 2]


def test_who_is_gone_has_no_turn(turns: Turns, qtbot: QtBot):
    done: list[str] = []
    gone, there = QObject(), QObject()
    turns.soon(gone, lambda: done.append("gone"))
    turns.soon(there, lambda: done.append("there"))
    delete(gone)
    qtbot.waitUntil(lambda: turns.are_over)
    assert done == ["there"]


@pytest.fixture
def plot(theme: Theme, qtbot: QtBot) -> Plot:
    """Shows nothing, 200 x 150 pixels."""
    made = Plot(theme, "a plot", bottom="", left="")
    qtbot.addWidget(made.widget)
    made.widget.resize(200, 150)
    made.widget.show()
    qtbot.waitUntil(lambda: theme.turns.are_over)
    return made


def red_pixels(plot: Plot) -> int:
    image: QImage = plot.widget.grab().toImage()
    colours = (image.pixelColor(x, y) for x in range(image.width()) for y in range(image.height()))
    return sum(colour.name() == RED for colour in colours)


def test_a_plot_keeps_its_last_picture_until_its_turn(plot: Plot, qtbot: QtBot):
    line = plot.line(pen=pen(RED, 3))
    line.setData([0, 1], [1, 1])
    assert red_pixels(plot) == 0
    qtbot.waitUntil(lambda: red_pixels(plot) > 200)
    line.setData([], [])
    assert red_pixels(plot) > 200
    qtbot.waitUntil(lambda: red_pixels(plot) == 0)


def test_a_hidden_plot_is_drawn_when_it_is_shown(plot: Plot, qtbot: QtBot):
    plot.widget.hide()
    line = plot.line(pen=pen(RED, 3))
    with qtbot.waitSignal(plot.widget.scene().changed):
        line.setData([0, 1], [1, 1])
    assert red_pixels(plot) == 0
    plot.widget.show()
    qtbot.waitUntil(lambda: red_pixels(plot) > 200)
