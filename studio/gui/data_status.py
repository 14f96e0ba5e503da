"""The data in use, at the bottom of the window: what measures, what trains, and how many samples each has."""

from pathlib import Path

from PySide6.QtWidgets import QHBoxLayout, QPushButton, QWidget

from studio.gui.labels import ElidedLabel
from studio.gui.text import count_text, sentence
from studio.session.project import DataFile
from studio.session.session import Session

NO_TEST = "No test data: compared on random input"


class DataStatus(QWidget):
    """Names the test and training data of a session.

    Args:
        session: whose data is shown.
        choose_test: command behind the first button.
        choose_train: command behind the second button.
    """

    def __init__(self, session: Session, choose_test: QPushButton, choose_train: QPushButton) -> None:
        super().__init__()
        self._session = session
        self.test = ElidedLabel(role="detail")
        self.train = ElidedLabel(role="detail")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 0, 8, 0)
        layout.setSpacing(8)
        for text, button in ((self.test, choose_test), (self.train, choose_train)):
            layout.addWidget(text, 1)
            layout.addWidget(button)
        session.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        project = self._session.project
        test, train = (project.test, project.train) if project is not None else (None, None)
        lacks = project.info.lacks if project is not None else {}
        without = sentence(lacks["measure"]) if "measure" in lacks else NO_TEST
        self.test.setText(f"Measured on {_name(test)}" if test else without)
        unused = "No training data"
        if "fit" in lacks:  # where the same reason stands beside it, it is enough once
            beside = lacks["fit"] == lacks.get("measure")
            unused = "Not fitted to data" if beside else f"Not fitted to data: {lacks['fit']}"
        self.train.setText(f"Fitted and trained on {_name(train)}" if train and "fit" not in lacks else unused)


def _name(data: DataFile) -> str:
    return f"{Path(data.path).name.removesuffix('.data.yaml')}: {count_text(data.samples)} samples"
