"""Everything that can be asked of the engine, one frozen value each; what comes back is a value too.

A request names all that its answer depends on, so that a worker may die and another answer the same request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from studio.analysis.views import Spectrum, WeightView
from studio.distillation.copy_settings import CopySettings, CopySize
from studio.distillation.settings import DistillOutcome, DistillSettings
from studio.evaluation.data_guess import DataGuess, DataView
from studio.evaluation.description import DataDescription
from studio.evaluation.feasibility import Harmless
from studio.evaluation.result import Result
from studio.evaluation.sensitivity import Scan
from studio.export.latency import Latency, LatencySettings, TimeTable
from studio.export.report import ExportReport
from studio.models.layer import ModelInfo
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings
from studio.search.outcome import SearchOutcome
from studio.search.target import Target

Answer_co = TypeVar("Answer_co", covariant=True)


class Request(Generic[Answer_co]):
    """A question whose answer is an `Answer_co`."""


@dataclass(frozen=True)
class Source:
    """A compressed model by what it is made of.

    Attributes:
        model: path of the original's file.
        recipe: settings of every layer.
        weights: path of trained weights the recipe starts from, None for the original's.
        calibration: path of the ``.data.yaml`` that the methods fit to, None to do without.
        skeleton: path of the network's file where `model` holds weights alone; None to do without.
    """

    model: str
    recipe: Recipe
    weights: str | None = None
    calibration: str | None = None
    skeleton: str | None = None


@dataclass(frozen=True)
class OpenModel(Request[ModelInfo]):
    """Opens a model file (weights with the network of `skeleton`, or alone) and lists its layers."""

    path: str
    skeleton: str | None = None


@dataclass(frozen=True)
class TrustProgram(Request[str]):
    """Runs a TorchScript program that the user trusts, once, and writes the archive that stands for it from then on.

    The answer is the archive's path, which is given as the skeleton wherever the program is the model.

    Attributes:
        path: the program.
        folder: where such archives are kept.
        fingerprint: SHA-256 of the bytes that are trusted, None for whatever the file holds now.
        shapes: of one sample for each input, empty to find out by trying.
    """

    path: str
    folder: str
    fingerprint: str | None = None
    shapes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class MeasureExportSize(Request[int]):
    """Bytes of the uncompressed model when the studio writes it: what the predicted sizes start from."""

    model: str
    skeleton: str | None = None


@dataclass(frozen=True)
class CheckData(Request[int]):
    """Opens a data description, checks that it fits the model, and counts its samples."""

    model: str
    data: str
    skeleton: str | None = None


@dataclass(frozen=True)
class TellSamples(Request[frozenset[str]]):
    """Tells which of several files hold samples, and not the weights of a model."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class GuessData(Request[DataGuess]):
    """Guesses the description of a folder or file that has none."""

    model: str
    data: str
    skeleton: str | None = None


@dataclass(frozen=True)
class LookAtData(Request[DataView]):
    """Shows what a model sees of data; the view is published without its baseline, and answered with it.

    Attributes:
        model: path of the model.
        place: path of the ``.data.yaml`` that the description is for, whether it is there or not.
        described: the description.
        skeleton: as of `OpenModel`.
    """

    model: str
    place: str
    described: DataDescription
    skeleton: str | None = None


@dataclass(frozen=True)
class ViewWeights(Request[WeightView]):
    """Histogram and statistics of one layer, original against compressed."""

    source: Source
    layer: str


@dataclass(frozen=True)
class ViewSpectrum(Request[Spectrum]):
    """Singular values of one layer of the original.

    Attributes:
        reach: share of their energy whose values are needed one by one; of huge layers more are not computed.
    """

    model: str
    layer: str
    skeleton: str | None = None
    reach: float = 0.0


@dataclass(frozen=True)
class ViewSpectra(Request[Mapping[str, Spectrum]]):
    """Singular values of all layers by name; published one by one as (name, `Spectrum`), the largest layers first.

    Attributes:
        reach: as of `ViewSpectrum`.
    """

    model: str
    skeleton: str | None = None
    reach: float = 0.0


@dataclass(frozen=True)
class FindHarmless(Request[Harmless]):
    """Tells by the weights alone which settings of each method should cost nothing; takes seconds."""

    model: str
    skeleton: str | None = None


@dataclass(frozen=True)
class Preview(Request[Result]):
    """Measures a compressed model beside the original; a `Result` is published after every growing block.

    Attributes:
        source: what to measure.
        data: path of the ``.data.yaml``; None measures agreement with the original on random input, and of weights
            alone how far they are off.
        samples: at most this many, None for all.
        seed: fixes the order of the samples.
    """

    source: Source
    data: str | None
    samples: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class ScanLayers(Request[Scan]):
    """Measures every layer alone at several strengths of each method; a `ScanPoint` is published for each.

    Attributes:
        source: the original, the calibration data and the recipe's options; what the recipe does to layers counts for
            nothing.
        data: path of the ``.data.yaml`` that measures; None measures agreement on random input.
        samples: at most this many, None for all.
        seed: fixes the order of the samples.
        layers: glob of the layers to scan.
        racing: whether candidates stop once their interval decides; off, all are measured on all samples.
        keep: path of the file that points are kept in as they come; a scan of the same kind in it is continued.
        skip: names of layers that are not scanned.
        activations: also round the activations of each layer alone; their ranges are learnt from the calibration.
        channels: also remove channels, of each group of coupled layers alone.
    """

    source: Source
    data: str | None
    samples: int | None = None
    seed: int = 0
    layers: str = "*"
    racing: bool = True
    keep: str | None = None
    skip: frozenset[str] = frozenset()
    activations: bool = False
    channels: bool = True


@dataclass(frozen=True)
class Search(Request[SearchOutcome]):
    """Finds the best recipe under a budget: scans, chooses, measures; a `FrontierPoint` is published for each recipe.

    Points are published first as they are expected and again as they were measured; before them the `ScanPoint` values
    of the scan.

    Attributes:
        source: the original, the calibration data and the recipe: of it the options hold for everything, and the layers
            that are kept or locked stay as they are.
        data: path of the ``.data.yaml`` that measures; None measures agreement on random input.
        target: the budget; for a time the model must run in ONNX Runtime.
        samples: at most this many for each recipe, None for all.
        seed: fixes the order of the samples.
        scan_samples: at most this many for each point of the scan, which races.
        keep: path of the file that the scan's points are kept in; a scan of the same kind in it is continued.
        channels: whether channels may go. Where a time is asked for none do: layers are timed at their full width.
    """

    source: Source
    data: str | None
    target: Target
    samples: int | None = 2048
    seed: int = 0
    scan_samples: int | None = 1024
    keep: str | None = None
    channels: bool = True


@dataclass(frozen=True)
class Distill(Request[DistillOutcome]):
    """Trains a compressed model towards the original; `TrainingPoint` values are published on the way.

    Attributes:
        source: the student to start from.
        train: path of the training ``.data.yaml``.
        evaluation: path of held-out data; None holds a tenth of `train` back.
        settings: how to train.
        folder: where the best weights are written.
        threads: torch threads to use, None for all cores; the window leaves one core for itself.
        checkpoints: folder of the run's checkpoint; None keeps none. It stays there until whoever asks removes it, also
            when the run is cancelled.
        resume: goes on from the checkpoint in that folder, or begins where the folder says that there is none yet
            (`studio.distillation.folder.note_begun`).
        teacher: path of the model that teaches, None for the original of `source`.
        teacher_skeleton: path of its network's file where it holds weights alone.
    """

    source: Source
    train: str
    evaluation: str | None
    settings: DistillSettings
    folder: str
    threads: int | None = None
    checkpoints: str | None = None
    resume: bool = False
    teacher: str | None = None
    teacher_skeleton: str | None = None


@dataclass(frozen=True)
class Assist(Request[None]):
    """Helps the process that leads, by what the environment tells (`studio.distillation.team`), with `distill`."""

    distill: Distill


@dataclass(frozen=True)
class MakeCopy(Request[tuple[str, ...]]):
    """Writes a narrower or shallower copy of a model as an ONNX file; answers what could not be made smaller and why.

    Attributes:
        model: path of the model.
        settings: how small.
        out: path of the file.
        skeleton: path of the network's file where `model` holds weights alone.
    """

    model: str
    settings: CopySettings
    out: str
    skeleton: str | None = None


@dataclass(frozen=True)
class PredictCopy(Request[CopySize]):
    """Tells how large a copy would be without writing it; attributes as of `MakeCopy`."""

    model: str
    settings: CopySettings
    skeleton: str | None = None


@dataclass(frozen=True)
class Export(Request[ExportReport]):
    """Writes a compressed model to a file and proves it in its runtime.

    Attributes:
        source: what to write.
        out: path of the file.
        data: path of the data to verify on; None verifies outputs on random input.
        samples: at most this many samples, None for all.
        seed: fixes the order of the samples.
        format: ``onnx``, or ``safetensors`` of weights alone; None for whichever fits.
    """

    source: Source
    out: str
    data: str | None = None
    samples: int | None = None
    seed: int = 0
    format: str | None = None


@dataclass(frozen=True)
class MeasureLatency(Request[Latency]):
    """Times a compressed model in ONNX Runtime beside the original, with what each layer takes.

    Attributes:
        source: what to time; how its layers are fitted makes no difference but to the form of a rank.
        settings: how to measure.
    """

    source: Source
    settings: LatencySettings


@dataclass(frozen=True)
class TimeSettings(Request[TimeTable]):
    """Times every layer under each of several settings, in one run a setting with all layers set alike.

    Attributes:
        source: the original, the calibration data and the recipe's options; what the recipe does to layers counts for
            nothing. Activations are rounded only where there is calibration data.
        choices: settings by a name of the caller's; a layer that cannot take one is left as it is.
        settings: how to measure.
    """

    source: Source
    choices: Mapping[str, LayerSettings]
    settings: LatencySettings
