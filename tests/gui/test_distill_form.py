from dataclasses import replace

from studio.gui.distill_form import DistillForm
from studio.models.layer import ModelInfo, TensorSpec


def answering(*shape):
    return ModelInfo("m.onnx", "onnx", "f", (), (TensorSpec("y", "float32", shape),), (), 0, 0, 0)


def test_the_form_begins_with_what_samples_and_model_suggest_and_keeps_what_was_chosen(qtbot):
    form = DistillForm()
    qtbot.addWidget(form)
    form.suggest(1416, answering(None, 128, 63), {})
    assert (form.settings().batch_size, form.settings().epochs, form.settings().temperature) == (16, 6, 1.0)
    form.editors["epochs"].set_value(3)
    form.suggest(20_000, answering(None, 10), {})
    assert (form.settings().batch_size, form.settings().epochs, form.settings().temperature) == (128, 3, 4.0)


def test_images_are_mirrored_and_shifted_only_where_the_model_takes_images_and_the_rest_says_why(qtbot):
    form = DistillForm()
    qtbot.addWidget(form)
    images = replace(answering(None, 10), inputs=(TensorSpec("x", "float32", (None, 3, 32, 32)),))
    texts = replace(images, inputs=(TensorSpec("x", "int64", (None, 128)),))
    form.fit(images)
    form.editors["flip"].set_value(True)
    form.editors["crop"].set_value(2)
    assert form.editors["flip"].isEnabled()
    form.fit(texts)
    assert (form.settings().flip, form.settings().crop) == (False, 0)
    assert not any(form.editors[name].isEnabled() for name in ("flip", "crop"))
    assert form.editors["flip"].box.toolTip() == "Only for images, and this model takes none."
    form.fit(images)
    assert form.editors["crop"].isEnabled()
    assert form.editors["flip"].box.toolTip().startswith("Half of the images are mirrored")
