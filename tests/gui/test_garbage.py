"""What is alive once a model is open takes no part in the collections that come during a drag."""

import gc

from studio.gui.garbage import set_aside_after_opening


def test_opening_a_model_sets_aside_what_is_alive(session, qtbot):
    set_aside_after_opening(session)
    gc.unfreeze()
    try:
        session.open_model("/models/digits.onnx")
        qtbot.waitUntil(lambda: gc.get_freeze_count() > 0)
        assert len(gc.get_objects()) < gc.get_freeze_count()
    finally:
        gc.unfreeze()
