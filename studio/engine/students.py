"""Students that are smaller copies of their teacher: how large they would be, and made as files of their own."""

from pathlib import Path

from studio.distillation.copies import smaller_copy
from studio.distillation.copy_settings import CopySettings, CopySize
from studio.engine.requests import MakeCopy, PredictCopy
from studio.export.onnx_file import write_onnx
from studio.files import write_atomically
from studio.models.layers import layer_table
from studio.models.model import Model


def answer_copy(request: MakeCopy | PredictCopy, model: Model) -> tuple[str, ...] | CopySize:
    """Makes a copy of a model, or tells how large it would be."""
    if isinstance(request, PredictCopy):
        return copy_size(model, request.settings)
    return make_copy(model, request.settings, Path(request.out))


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


def copy_size(model: Model, settings: CopySettings) -> CopySize:
    """How large a smaller copy of a model would be.

    Raises:
        ModelFileError: the model cannot be trained.
        TrainingError: nothing could be made smaller.
    """
    model.info.require("train")
    made = smaller_copy(model, settings)
    parameters = sum(parameter.numel() for parameter in made.graph.parameters())
    macs = sum(layer.macs for layer in layer_table(made.graph, model.example()))
    return CopySize(parameters, macs, made.notes)
