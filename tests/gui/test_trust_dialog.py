"""The question before a program runs."""

from PySide6.QtWidgets import QDialogButtonBox

from studio.gui.trust_dialog import TrustDialog


def test_a_program_is_trusted_only_by_the_button_that_says_so(qtbot):
    said = []
    for answer in ("no", "yes"):
        dialog = TrustDialog("/models/net.pt", lambda: said.append("trusted"))
        qtbot.addWidget(dialog)
        cancel = dialog.buttons.button(QDialogButtonBox.StandardButton.Cancel)
        assert cancel.isDefault()
        (dialog.trust if answer == "yes" else cancel).click()
        assert said == (["trusted"] if answer == "yes" else [])
