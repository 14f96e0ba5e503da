"""Python's garbage collection, kept from stopping the window in the middle of a drag.

A full collection visits every object there is: some 50 ms with a window open, three frames. Nearly all of them live as
long as the window or its model. So the full collections are the window's own: once a model is open, and whenever nobody
has edited anything for a while. What is alive then is set aside, and later collections visit only what came after.
"""

import gc

from PySide6.QtCore import QTimer

from studio.session.session import Change, Session

#: Milliseconds without an edit after which a collection is in nobody's way.
REST_MS = 2000

#: How many collections of the middle generation Python lets pass before a full one: ten times what it does by itself,
#: for who edits without a rest. They take minutes.
_SELDOM = 100


def collect_at_rest(session: Session) -> QTimer:
    """Has all collected after each opening and whenever edits rest.

    Returns:
        The timer that waits for the rest.
    """
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _SELDOM)
    rest = QTimer()
    rest.setSingleShot(True)
    rest.timeout.connect(set_aside)

    def follow(change: Change) -> None:
        if "model" in change.kinds:
            QTimer.singleShot(0, set_all_aside)
        rest.start(REST_MS)

    session.changed.connect(follow)
    return rest


def set_all_aside() -> None:
    """Collects what is garbage, also of what was set aside before, and sets the rest aside."""
    gc.unfreeze()
    set_aside()


def set_aside() -> None:
    """Collects what is garbage of what came since, and sets the rest aside."""
    gc.collect()
    gc.freeze()
