"""What a layer scan found: torch-free values that cross the engine's door and are kept in files."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from studio.errors import DataError
from studio.evaluation.racing import RULE
from studio.files import file_version, write_text_atomically
from studio.recipe.settings import LayerSettings, Options, Settings


class ScanPoint(Settings):
    """One layer, or one group of coupled channels, compressed alone.

    Attributes:
        layer: its name; of channels the name of the group, which is that of its first layer.
        method: ``quantize`` (of the weights alone), ``prune``, ``rank``, ``channels``, or ``activations`` (of these
            alone).
        setting: the strength in words, such as ``4 bit`` or ``50 %``.
        settings: the same as a recipe has it.
        bytes: of the layer in the exported file; of channels those of all layers that lose some.
        macs: likewise, for one sample.
        metric: name of the metric.
        value: of the whole model, in the metric's unit (percent for accuracies).
        low: lower end of its 95 % interval.
        high: upper end.
        samples: how many were measured; fewer than the others' where a race was decided early.
        drop: how much worse than the original on the same samples (positive: worse).
        drop_low: lower end of its paired 95 % interval.
        drop_high: upper end.
        distortion: ``Σ(y − ŷ)² / Σy²`` of the model's outputs against the original's; it tells settings apart whose
            drops are too small to be told apart on so few samples.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")  # a perplexity may be beyond all numbers

    layer: str
    method: str
    setting: str
    settings: LayerSettings
    bytes: int
    macs: int
    metric: str
    value: float
    low: float
    high: float
    samples: int
    drop: float
    drop_low: float
    drop_high: float
    distortion: float

    @property
    def key(self) -> tuple[str, str]:
        """Tells it from the other points of a scan."""
        return candidate_key(self.layer, self.settings)


class Scan(Settings):
    """Points of a model on one set of samples, in the order they were measured.

    Attributes:
        studio_scan: format version.
        key: hash of all that the points depend on: points of another key are not mixed with these.
        points: what is known so far.
        left_out: by layer and method, why it was not tried.
    """

    studio_scan: Literal[1] = 1
    key: str
    points: tuple[ScanPoint, ...] = ()
    left_out: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)

    def of(self, layer: str, method: str | None = None) -> tuple[ScanPoint, ...]:
        """The points of one layer, by method if one is given: its sensitivity curves."""
        return tuple(p for p in self.points if p.layer == layer and method in (None, p.method))

    def with_point(self, point: ScanPoint) -> "Scan":
        """The scan with one more point."""
        return self.model_copy(update={"points": (*self.points, point)})


def candidate_key(layer: str, settings: LayerSettings) -> tuple[str, str]:
    """What tells one candidate of a scan from the others."""
    return layer, settings.model_dump_json(exclude_none=True)


def scan_key(
    fingerprint: str,
    data: str | None,
    calibration: str | None,
    options: Options,
    samples: int | None,
    seed: int,
    racing: bool,
) -> str:
    """Hash of all that a scan's points depend on but their layer and settings.

    Args:
        fingerprint: of the model.
        data: path of the data that measures, None for random input.
        calibration: path of the data that the methods fit to, None to do without.
        options: of the recipe; the fit is always that of each layer alone.
        samples: at most so many.
        seed: of their order.
        racing: whether candidates may stop early.

    Raises:
        StudioError: a data file is missing.
    """
    files = [file_version(path) if path else None for path in (data, calibration)]
    chosen = options.model_copy(update={"fit": "layer"}).model_dump_json()
    rule = RULE if racing else None
    return hashlib.sha256(repr((fingerprint, files, chosen, samples, seed, rule)).encode()).hexdigest()


def save_scan(scan: Scan, path: Path) -> None:
    """Writes a scan whole.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        write_text_atomically(path, scan.model_dump_json(exclude_unset=True))
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}.") from error


def load_scan(path: Path) -> Scan:
    """Reads a scan.

    Raises:
        DataError: the file is missing, damaged, or no scan.
    """
    try:
        return Scan.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is no scan of this version; choose another file or remove it.") from error
