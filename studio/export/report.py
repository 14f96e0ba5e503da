"""What is known of an exported file: the proof that it behaves as the preview said, as torch-free values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from studio.evaluation.result import Measurement
from studio.recipe.factorization import Factorization


@dataclass(frozen=True)
class ExportReport:
    """A written and verified file.

    Attributes:
        out: path of the file.
        format: ``onnx``, or ``safetensors`` of weights alone.
        before: bytes of the uncompressed model written the same way.
        predicted: bytes announced before writing.
        after: bytes on disk.
        max_error: largest absolute difference of an output between the preview in torch and ONNX Runtime; of weights
            alone, of a weight between the preview and the file.
        output_scale: largest absolute output (or weight) of the preview, which gives `max_error` its size.
        original: the original's metric; None without data.
        preview: the compressed model's metric in torch; without data agreement with the original, of weights alone
            their error.
        exported: the same metric of the file in ONNX Runtime on the same samples; of weights alone, as read again.
        verified: whether outputs and metric agree within the tolerances (a mismatch raises, so True once written).
        factors: how the layers with a rank were split, by name.
    """

    out: str
    format: str
    before: int
    predicted: int
    after: int
    max_error: float
    output_scale: float
    original: Measurement | None
    preview: Measurement
    exported: Measurement
    verified: bool
    factors: Mapping[str, Factorization] = field(default_factory=dict)
