from studio.gui.distill_form import DistillForm


def test_the_form_begins_with_what_the_samples_suggest_and_keeps_what_was_chosen(qtbot):
    form = DistillForm()
    qtbot.addWidget(form)
    form.suggest(1416)
    assert (form.settings().batch_size, form.settings().epochs) == (16, 6)
    form.editors["epochs"].set_value(3)
    form.suggest(20_000)
    assert (form.settings().batch_size, form.settings().epochs) == (128, 3)
