"""Undo and redo over whole states."""

from studio.session.history import LONGEST, History


def test_undo_and_redo_walk_along_the_states():
    history = History("a")
    history.push("b", "to b")
    history.push("c", "to c")
    assert history.undo()
    assert history.state == "b"
    assert (history.undo_label, history.redo_label) == ("to b", "to c")
    assert history.redo()
    assert history.state == "c"
    assert not history.redo()


def test_nothing_is_undone_before_the_first_state():
    history = History("a")
    assert not history.undo()
    assert history.undo_label is None
    assert history.state == "a"


def test_pushes_with_one_merge_key_are_one_step_until_sealed():
    history = History(0)
    for value in (1, 2, 3):
        history.push(value, "drag", merge="rank")
    history.seal()
    history.push(4, "drag", merge="rank")
    assert len(history.steps) == 3
    history.undo()
    assert history.state == 3
    history.undo()
    assert history.state == 0


def test_a_new_step_forgets_what_could_be_redone():
    history = History("a")
    history.push("b", "to b")
    history.undo()
    history.push("c", "to c")
    assert history.redo_label is None
    assert [step.state for step in history.steps] == ["a", "c"]


def test_an_equal_state_is_no_step():
    history = History("a")
    assert not history.push("a", "nothing")
    assert len(history.steps) == 1


def test_a_drag_does_not_swallow_the_step_it_was_undone_to():
    history = History(0)
    history.push(1, "drag", merge="rank")
    history.push(2, "other")
    history.undo()
    history.push(3, "drag", merge="rank")
    assert [step.state for step in history.steps] == [0, 1, 3]


def test_the_oldest_steps_go_when_there_are_too_many():
    history = History(0)
    for value in range(1, LONGEST + 10):
        history.push(value, "step")
    assert len(history.steps) == LONGEST
    assert history.state == LONGEST + 9
