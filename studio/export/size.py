"""How large the uncompressed model is when the studio writes it, which all predicted sizes start from."""

import contextlib
import hashlib
from importlib.metadata import version
from pathlib import Path

from platformdirs import user_cache_path

import studio
from studio.export.graph_file import measure_graph_size
from studio.export.onnx_file import WRITER_VERSION, onnx_bytes
from studio.export.weights_file import measure_weights_size
from studio.files import write_text_atomically
from studio.models.model import Model

#: Packages that decide what the writer writes.
_WRITERS = ("torch", "onnx", "onnx-ir", "onnxscript")


def measure_export_size(model: Model) -> int:
    """Bytes of the uncompressed model as the studio writes it.

    That is an ONNX file, whose size is remembered on disk for the next time; the file's own graph, where settings are
    applied to that; or of weights alone a safetensors file.

    Raises:
        ExportError: the model cannot be written.
    """
    if model.onnx is not None:
        return measure_graph_size(model)
    if not model.info.has_network:
        return measure_weights_size(model)
    known = _remembered(model)
    with contextlib.suppress(OSError, ValueError):  # nothing is remembered: measured anew
        return int(known.read_text(encoding="ascii"))
    size = len(onnx_bytes(model.graph, model.info, model.free_size))
    with contextlib.suppress(OSError):  # it only saves time
        known.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(known, str(size))
    return size


def _remembered(model: Model) -> Path:
    """Where the size is kept: a name made of everything that it depends on."""
    versions = [studio.__version__, str(WRITER_VERSION), *(version(package) for package in _WRITERS)]
    key = hashlib.sha256("\n".join([model.info.fingerprint, *versions]).encode()).hexdigest()
    return user_cache_path("compression-studio") / "export-sizes" / key
