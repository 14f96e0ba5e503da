"""What the studio makes of data that nobody has described: torch-free values that cross the engine's door."""

import re
from dataclasses import dataclass
from pathlib import Path

from studio.evaluation.arrays import Array
from studio.evaluation.description import DataDescription
from studio.evaluation.result import Measurement

#: Ending of a data description.
ENDING = ".data.yaml"


@dataclass(frozen=True)
class Tried:
    """One way to normalise that was measured.

    Attributes:
        name: in words.
        value: of the metric on the samples that decide.
    """

    name: str
    value: float


@dataclass(frozen=True)
class DataGuess:
    """A description that was guessed.

    Attributes:
        place: path of the ``.data.yaml`` that `described` is written for: its source is relative to that.
        described: the guess.
        reasons: why, a sentence each.
        tried: ways to normalise with what each is worth, the best first; empty where nothing could be measured.
        baseline: the original model on the first samples.
        samples: how many there are.
        labelled: whether they have labels; without, the baseline is agreement with itself.
    """

    place: str
    described: DataDescription
    reasons: tuple[str, ...]
    tried: tuple[Tried, ...]
    baseline: Measurement
    samples: int
    labelled: bool

    @property
    def line(self) -> str:
        """The guess with its reasons in one line."""
        source = Path(self.place).parent / self.described.source
        return f"{source}: {self._what}. {' '.join(self.reasons)}"

    @property
    def brief(self) -> str:
        """The guess in a few words."""
        way = f", normalised {self.tried[0].name}" if self.tried else ""
        return f"{Path(self.described.source).name}: {self._what}{way}."

    @property
    def _what(self) -> str:
        kinds = {"image": "images", "tensor": "samples", "tokens": "samples of tokens", "table": "rows"}
        kind = "texts" if self.described.kind == "tokens" and self.described.tokenizer else kinds[self.described.kind]
        return f"{self.samples:,} {kind}, {'labelled' if self.labelled else 'without labels'}"


@dataclass(frozen=True)
class DataView:
    """What a model really sees of data.

    Attributes:
        samples: how many there are.
        labelled: whether they have labels.
        metric: name of what is measured on them.
        pictures: the first images as the model takes them, turned back to bytes ``[images, height, width, channels]``;
            None for other kinds.
        captions: the label of each picture, row or text; empty without.
        headings: of `rows`.
        rows: the first samples of a table or of arrays, after normalisation.
        texts: the first samples of a text, from their tokens.
        low, high, mean: of what goes into the model, over these samples.
        baseline: the original model on the first samples; None until it is measured.
    """

    samples: int
    labelled: bool
    metric: str
    pictures: Array | None
    captions: tuple[str, ...]
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: tuple[str, ...]
    low: float
    high: float
    mean: float
    baseline: Measurement | None = None


#: Words of a name that tell what data are for.
_TRAINS = ("train", "training", "calib", "calibration")


def role_of(path: str) -> str:
    """What data are for by their name: ``train`` where it says so, else ``test``."""
    words = re.split(r"[^a-z]+", Path(path).name.lower())
    return "train" if any(word in _TRAINS for word in words) else "test"


def place_for(path: Path) -> Path:
    """Where the description of a file or folder belongs: beside it."""
    stem = path.name if path.is_dir() else path.stem
    return path.with_name(f"{stem}{ENDING}")


def written_for(described: DataDescription, place: Path, target: Path) -> DataDescription:
    """A description made for `place` as it reads in a file at `target`: its paths lead to the same files from there."""
    files = {"source": described.source}
    if described.tokenizer not in (None, "bytes", "characters"):
        files["tokenizer"] = str(described.tokenizer)
    folder = target.absolute().parent
    there = {name: (place.parent / file).absolute() for name, file in files.items()}
    changed = {
        name: str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)
        for name, file in there.items()
    }
    return described.model_copy(update=changed)


def is_description(path: str) -> bool:
    """Whether a path names a description, and not data themselves."""
    return path.lower().endswith((".yaml", ".yml"))
