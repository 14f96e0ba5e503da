from studio.gui.distill_form import DistillForm
from studio.models.layer import ModelInfo, TensorSpec


def answering(*shape):
    return ModelInfo("m.onnx", "onnx", "f", (), (TensorSpec("y", "float32", shape),), (), 0, 0, 0)


def test_the_form_begins_with_what_samples_and_model_suggest_and_keeps_what_was_chosen(qtbot):
    form = DistillForm()
    qtbot.addWidget(form)
    form.suggest(1416, answering(None, 128, 63))
    assert (form.settings().batch_size, form.settings().epochs, form.settings().temperature) == (16, 6, 1.0)
    form.editors["epochs"].set_value(3)
    form.suggest(20_000, answering(None, 10))
    assert (form.settings().batch_size, form.settings().epochs, form.settings().temperature) == (128, 3, 4.0)
