"""What is alive takes no part in the collections that come during a drag."""

import gc
from collections.abc import Iterator

import pytest

from studio.gui.garbage import REST_MS, collect_at_rest
from studio.recipe.settings import PruneSettings


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    """Leaves the collector as it was."""
    before = gc.get_threshold()
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_opening_a_model_sets_aside_what_is_alive(session, qtbot):
    collect_at_rest(session)
    session.open_model("/models/digits.onnx")
    qtbot.waitUntil(lambda: gc.get_freeze_count() > 0)
    assert len(gc.get_objects()) < gc.get_freeze_count()


def test_a_full_collection_waits_until_edits_rest(opened):
    rest = collect_at_rest(opened)
    assert not rest.isActive()
    opened.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    assert rest.isActive()
    assert rest.interval() == REST_MS
    before = gc.get_freeze_count()
    rest.timeout.emit()
    assert gc.get_freeze_count() > before
