"""Students that are smaller copies of their teacher, made as files of their own."""

from pathlib import Path

from studio.distillation.copies import smaller_copy
from studio.distillation.copy_settings import CopySettings
from studio.export.onnx_file import write_onnx
from studio.files import write_atomically
from studio.models.model import Model


def make_copy(model: Model, settings: CopySettings, out: Path) -> tuple[str, ...]:
    """Writes a smaller copy of a model to `out`, and tells what could not be made smaller.

    Raises:
        ModelFileError: the model cannot be trained.
        TrainingError: nothing could be made smaller.
        ExportError: the copy has no form in ONNX.
        OSError: the file cannot be written.
    """
    model.info.require("train")
    made = smaller_copy(model, settings)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, lambda path: write_onnx(made.graph, model.info, path, model.free_size))
    return made.notes
