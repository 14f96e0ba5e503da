"""File dialogs that never block: each opens, and calls back with the chosen path."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QWidget

MODELS = "Models (*.onnx *.pt2 *.safetensors *.safetensors.index.json *.pt *.pth *.th *.bin)"
NETWORKS = "Networks (*.onnx *.pt2)"
RECIPES = "Recipes (*.recipe.yaml *.yaml)"
DATA = "Data (*.data.yaml *.yaml *.npz *.npy *.safetensors *.csv *.tsv *.parquet *.txt)"
ONNX = "ONNX models (*.onnx)"
WEIGHTS = "Weights (*.safetensors)"


def ask_open(
    parent: QWidget, title: str, kinds: str, chosen: Callable[[str], object], folder: Path | None = None
) -> QFileDialog:
    """Asks for a file to read, first in `folder`."""
    dialog = QFileDialog(parent, title, str(folder or ""))
    dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
    dialog.setNameFilters([kinds, "All files (*)"])
    return _open(dialog, chosen)


def ask_folder(parent: QWidget, title: str, chosen: Callable[[str], object]) -> QFileDialog:
    """Asks for a folder to read."""
    dialog = QFileDialog(parent, title)
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly)
    return _open(dialog, chosen)


def ask_save(parent: QWidget, title: str, kinds: str, proposal: Path, chosen: Callable[[str], object]) -> QFileDialog:
    """Asks for a file to write; the dialog itself asks before replacing one."""
    dialog = QFileDialog(parent, title, str(proposal.parent))
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setFileMode(QFileDialog.FileMode.AnyFile)
    dialog.setNameFilter(kinds)
    dialog.setDefaultSuffix(
        "".join(proposal.suffixes[-2:] if proposal.suffix == ".yaml" else [proposal.suffix]).lstrip(".")
    )
    dialog.selectFile(proposal.name)
    return _open(dialog, chosen)


def _open(dialog: QFileDialog, chosen: Callable[[str], object]) -> QFileDialog:
    dialog.fileSelected.connect(chosen)
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()
    return dialog
