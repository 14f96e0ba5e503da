"""Python's garbage collection, kept from stopping the window in the middle of a drag.

A full collection visits every object there is: some 50 ms with a window open, three frames. Nearly all of them live as
long as the window or its model. What is alive once a model is open is set aside, so that later collections visit only
what came after.
"""

import gc

from PySide6.QtCore import QTimer

from studio.session.session import Change, Session


def set_aside_after_opening(session: Session) -> None:
    """Sets aside, each time a model has been opened and shown, what is alive then."""

    def follow(change: Change) -> None:
        if "model" in change.kinds:
            QTimer.singleShot(0, set_aside)

    session.changed.connect(follow)


def set_aside() -> None:
    """Collects what is garbage, also of what was set aside before, and sets the rest aside."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
