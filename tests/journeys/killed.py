"""Processes that are killed in the middle of a distillation, at a step that they choose themselves."""

import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from studio.distillation.checkpoint import Checkpoint, Keeper
from studio.engine.door import Call
from studio.engine.inline import InlineEngine
from studio.engine.worker import serve
from studio.progress import Progress, Report, silent

#: Checkpoints that a worker writes before it dies, and the step before which a window waits to be killed.
WRITTEN = WAITS = 5

#: Milliseconds after which a window gives up that could not begin.
PATIENCE_MS = 120_000


def ask_for_checkpoints(window: Any) -> None:
    """Has the window's next distillation take 26 steps on 200 samples, with a checkpoint after each."""
    for field, value in {"epochs": 2, "batch_size": 16, "checkpoint_seconds": 0.0}.items():
        window.distill.form.editors[field].set_value(value)


def dying_worker(connection: Connection, threads: int | None) -> None:
    """Stands in for the engine's child process and dies by SIGKILL behind its fifth checkpoint."""
    save = Keeper.save
    written: list[int] = []

    def save_and_die(keeper: Keeper, checkpoint: Checkpoint) -> None:
        save(keeper, checkpoint)
        written.append(checkpoint.state.step)
        if len(written) == WRITTEN:
            os.kill(os.getpid(), signal.SIGKILL)

    Keeper.save = save_and_die  # type: ignore[method-assign]
    serve(connection, threads)


class Waiting(InlineEngine):
    """An engine whose distillations say on standard output that they are under way, and wait there for ever."""

    def start(self, request: Any, *, report: Report = silent, **rest: Any) -> Call[Any]:
        """See `studio.engine.door.Engine.start`."""

        def told(progress: Progress) -> None:
            report(progress)
            if progress.done == WAITS and progress.message.startswith("epoch"):
                sys.stdout.write("under way\n")
                sys.stdout.flush()
                threading.Event().wait()

        return super().start(request, report=told, **rest)


def window(folder: Path, model: str, data: str) -> None:
    """Opens a window, sets a layer to 50 % zeros, and begins a distillation that the caller ends by a signal."""
    # here, because a worker that dies needs no window
    from PySide6.QtCore import QEventLoop, QTimer

    from studio.gui.app import MainThread, application
    from studio.gui.main_window import MainWindow
    from studio.gui.theme import Scheme, Theme
    from studio.recipe.settings import PruneSettings
    from studio.session.session import Change, Session

    qt, main_thread, loop, begun = application(), MainThread(), QEventLoop(), list[bool]()
    session = Session(Waiting, folder, main_thread.dispatch)
    made = MainWindow(session, Theme(qt, Scheme.LIGHT), [])
    made.show()

    def begin() -> None:
        session.edit_layers(["first"], "Prune", prune=PruneSettings(ratio=0.5))
        ask_for_checkpoints(made)
        made.distill.start.click()
        loop.quit()  # nothing waited: whoever reads the output learns that it has ended

    def follow(_change: Change) -> None:
        project = session.project
        if project is not None and project.train and project.test and not begun:
            begun.append(True)
            main_thread.dispatch(begin)

    session.changed.connect(follow)
    session.open_model(model, test=data, train=data)
    QTimer.singleShot(PATIENCE_MS, loop.quit)
    loop.exec()


if __name__ == "__main__":
    window(Path(sys.argv[1]), *sys.argv[2:])
