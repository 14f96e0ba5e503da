"""The data description ``*.data.yaml``: what the samples are and how they become a model's input.

Only what is written in the file; opening the source is `studio.evaluation.sources`, fitting it to a model is
`studio.evaluation.data`. Free of torch, so that the window can show and edit it.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from studio.errors import DataError, did_you_mean
from studio.evaluation.metric_kinds import METRIC_KINDS
from studio.files import write_text_atomically
from studio.recipe.settings import Settings

#: A description is a few hundred bytes, one with a thousand classes some ten kB; anything far larger is another file.
LARGEST_FILE = 1_000_000

#: Written as the label, says that a source that could give labels shall give none.
NO_LABEL = ""

Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]
Divisor = Annotated[float, Field(strict=False, allow_inf_nan=False, gt=0.0)]
Pixels = Annotated[int, Field(ge=1, le=8192)]


class DataDescription(Settings):
    """What the samples are and how they become model input: ``(value / scale - mean) / std``.

    Attributes:
        source: where they are, relative to the description: ``.npz``, ``.npy`` or ``.safetensors`` arrays, a folder of
            images (one folder for each class, or none), a ``.csv``, ``.tsv`` or ``.parquet`` table, or a ``.txt`` text.
        input: name of the input array, or several names in the order of the model's inputs; of a table the columns
            that make up a sample, by default all numeric ones but the label, and where the kind is tokens the column
            of the text, or two that belong together; nothing for images and text.
        label: name of the label array or column; None when there are none. Images have their folder's name for a
            label and text the token that comes next, unless this is ``''``.
        classes: names of the classes in the order of the model's outputs, or the output of each name; by default the
            names of the folders (or the words of the label column), sorted.
        links: whether links that lead out of the data's folder are followed.
    """

    source: Annotated[str, Field(min_length=1)]
    input: str | Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None, title="Input", description="Array or columns that the model is given."
    )
    label: str | None = Field(default=None, title="Label", description="Array or column of the right answers.")
    kind: Literal["image", "tensor", "tokens", "table"] = Field(
        default="tensor",
        title="Kind",
        description="Pixels, numbers passed on as they are, ids of tokens, or columns of a table.",
    )
    layout: Literal["NHWC", "NCHW"] = Field(
        default="NHWC",
        title="Layout",
        description="How images are stored; the model's own layout is known from the model.",
        json_schema_extra={"labels": {"NHWC": "channels last", "NCHW": "channels first"}},
    )
    colour: Literal["rgb", "bgr", "grey"] | None = Field(
        default=None,
        title="Colours",
        description="Order of the colours that the model was trained with; grey where it takes one channel.",
    )
    fit: Literal["crop", "stretch"] = Field(
        default="crop",
        title="Size",
        description="Images of another size are resized and their middle is cut out, or stretched to the model's size.",
        json_schema_extra={"labels": {"crop": "resize, cut the middle", "stretch": "stretch"}},
    )
    resize: Pixels | None = Field(
        default=None,
        title="Shorter side",
        description="What the shorter side is resized to before the middle is cut out; off: just what the model takes.",
        json_schema_extra={"unit": "px", "default_start": 256},
    )
    crop: Pixels | None = Field(
        default=None,
        title="Cut out",
        description="Side of the square that is cut out where the model takes any size.",
        json_schema_extra={"unit": "px", "default_start": 224},
    )
    scale: Divisor = Field(default=1.0, title="Scale", description="Stored values are divided by it: 255 for bytes.")
    mean: Annotated[tuple[Number, ...], Field(min_length=1, strict=False)] = Field(
        default=(0.0,), title="Mean", description="Subtracted after scaling, one value or one for each channel."
    )
    std: Annotated[tuple[Divisor, ...], Field(min_length=1, strict=False)] = Field(
        default=(1.0,), title="Deviation", description="Divided by after that, one value or one for each channel."
    )
    classes: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] | dict[str, int] | None = Field(
        default=None, title="Classes", description="Names of the classes in the order of the model's outputs."
    )
    tokenizer: str | None = Field(
        default=None,
        title="Tokenizer",
        description="How text becomes tokens: bytes, characters, or the path of a tokenizer.json.",
    )
    vocabulary: str | None = Field(
        default=None, title="Vocabulary", description="The characters in the order of their ids."
    )
    length: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        title="Tokens",
        description="Tokens in a sample where the model takes any number.",
        json_schema_extra={"default_start": 128},
    )
    links: bool = Field(
        default=False, title="Follow links", description="Also read files that links out of the folder lead to."
    )
    metric: str | None = Field(
        default=None,
        title="Metric",
        description="What is measured; by default what the labels and the model's output suggest.",
    )

    @property
    def input_names(self) -> list[str]:
        """Names of the input arrays or columns, none where they are not named."""
        if self.input is None:
            return []
        return [self.input] if isinstance(self.input, str) else self.input

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str | None) -> str | None:
        if metric is not None and metric not in METRIC_KINDS:
            raise ValueError(f"must be one of {', '.join(METRIC_KINDS)}{did_you_mean(metric, METRIC_KINDS)}")
        return metric


def load_description(path: Path) -> DataDescription:
    """Reads a data description.

    Raises:
        DataError: the file is missing, not YAML, lacks a field, or holds an unknown one or a bad value; the message
            gives the file, the field and the nearest valid name.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path}: too large to be a data description.")
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise DataError(f"{path}: is not valid YAML.") from error
    if not isinstance(plain, dict):
        raise DataError(f"{path}: holds no data description; it needs at least 'source' and 'input'.")
    return checked_description(path, plain)


def checked_description(path: Path, plain: dict[str, Any]) -> DataDescription:
    """The description of plain values, as a file at `path` would have them.

    Raises:
        DataError: as `load_description`.
    """
    try:
        return DataDescription.model_validate(plain)
    except ValidationError as error:
        raise DataError(f"{path}: {_explain(error)}") from error


def save_description(described: DataDescription, path: Path) -> None:
    """Writes a description whole, leaving out what is as it would be anyway.

    Raises:
        DataError: the file cannot be written.
    """
    plain = described.model_dump(mode="json", exclude_defaults=True)
    try:
        write_text_atomically(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}.") from error


def _explain(error: ValidationError) -> str:
    """Field and reason of the first mistake."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        valid = list(DataDescription.model_fields)
        return f"{where}: unknown field; valid: {', '.join(valid)}.{did_you_mean(where, valid)}"
    if first["type"] == "missing":
        return f"{where}: is missing."
    return f"{where}: {first['msg'].removeprefix('Value error, ')} (given: {first['input']!r})."
