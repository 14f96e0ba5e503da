"""The data description ``*.data.yaml``: which arrays hold the samples and how they become a model's input.

Only what is written in the file; reading the arrays is `studio.evaluation.arrays`, fitting them to a model is
`studio.evaluation.data`.
"""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from studio.errors import DataError, did_you_mean
from studio.evaluation.metric_kinds import METRIC_KINDS
from studio.recipe.settings import Settings

#: A description is a few hundred bytes; anything far larger is another kind of file.
LARGEST_FILE = 1_000_000

Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]
Divisor = Annotated[float, Field(strict=False, allow_inf_nan=False, gt=0.0)]


class DataDescription(Settings):
    """What the samples are and how they become model input: ``(value / scale - mean) / std``.

    Attributes:
        source: file of the arrays, relative to the description: ``.npz``, ``.npy`` or ``.safetensors``.
        input: name of the input array, or several names in the order of the model's inputs.
        label: name of the label array; None when there are none.
        kind: ``image`` (pixels, floating or integer), ``tensor`` (passed on as it is) or ``tokens`` (ids).
        layout: how images are stored; the model's own layout is known from the model.
        scale: divisor of the stored values, such as 255 for bytes.
        mean: subtracted after scaling, one value or one for each channel.
        std: divisor after that, one value or one for each channel.
        metric: what is measured; by default top-1 for integer labels, mse for others, agreement without labels.
    """

    source: Annotated[str, Field(min_length=1)]
    input: str | Annotated[list[str], Field(min_length=1)] = "x"
    label: str | None = None
    kind: Literal["image", "tensor", "tokens"] = "tensor"
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    scale: Divisor = 1.0
    mean: Annotated[tuple[Number, ...], Field(min_length=1, strict=False)] = (0.0,)
    std: Annotated[tuple[Divisor, ...], Field(min_length=1, strict=False)] = (1.0,)
    metric: str | None = None

    @property
    def input_names(self) -> list[str]:
        """Names of the input arrays."""
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
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: is not valid YAML.") from error
    if not isinstance(plain, dict):
        raise DataError(f"{path}: holds no data description; it needs at least 'source' and 'input'.")
    try:
        return DataDescription.model_validate(plain)
    except ValidationError as error:
        raise DataError(f"{path}: {_explain(error)}") from error


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
