"""What can be chosen for one layer: plain frozen values whose field metadata is declared once.

The metadata (title, description, range, unit) feeds the recipe check, the editors of the window and the report.
Settings are applied in the fixed order channels → rank → sparsity (on what is then stored) → quantization.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)


class Settings(BaseModel):
    """Base of every settings class: frozen, no unknown fields, no silent conversion of text to numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Ratio = Annotated[float, Field(ge=0.0, lt=1.0, strict=False)]

#: Bits that a weight of so many bits takes in a file: ONNX has no runtime for integers below 4 bits.
CONTAINER_BITS: Mapping[int, int] = {16: 16, 8: 8, 4: 4, 3: 4, 2: 4}

FloatFormat = Literal["fp16", "bf16"]

Product = Literal["portable", "onnxruntime", "onnxruntime_int8"]

#: Groups that ONNX Runtime's ``MatMulNBits`` takes.
NBITS_GROUPS = (16, 32, 64, 128, 256)

#: The fields of `PruneSettings` that go with each pattern.
PATTERN_FIELDS: Mapping[str, tuple[str, ...]] = {"unstructured": ("ratio",), "n_m": ("n", "m")}


class PruneSettings(Settings):
    """Zeros in place of the weights that matter least.

    The zeros are stored, so that the file does not shrink by itself. With ``n_m`` the rows of the layer's matrix
    ``[out, in·k·k]`` are cut into groups of `m` neighbours, each of which keeps `n`; a shorter last group keeps at
    most `n`.
    """

    kind: Literal["unstructured", "n_m"] = Field(
        default="unstructured",
        title="Pattern",
        description="Any weight may become zero, or a fixed number of every few neighbours.",
        json_schema_extra={"labels": {"unstructured": "unstructured", "n_m": "n of every m"}},
    )
    ratio: Ratio = Field(
        default=0.5,
        title="Sparsity",
        description="Share of the layer's weights that become zero (only unstructured).",
        json_schema_extra={"unit": "%", "scale": 100},
    )
    n: Annotated[int, Field(ge=1, le=31)] = Field(
        default=2, title="Keep (n)", description="Weights that every group keeps (only with n of every m)."
    )
    m: Annotated[int, Field(ge=2, le=32)] = Field(
        default=4, title="Of every (m)", description="Neighbouring weights in a group (only with n of every m)."
    )

    @model_validator(mode="after")
    def _fits_the_pattern(self) -> Self:
        valid = PATTERN_FIELDS[self.kind]
        foreign = sorted(self.model_fields_set - {"kind", *valid})
        if foreign:
            raise ValueError(f"'{foreign[0]}' does not go with kind {self.kind}, which takes {' and '.join(valid)}")
        if not self.model_fields_set.issuperset(valid):  # the defaults are for the window: a file says what it wants
            raise ValueError(f"kind {self.kind} needs {' and '.join(valid)}")
        if self.n >= self.m:
            raise ValueError(f"n must be less than m: {self.n} of {self.m} leaves nothing to prune")
        return self

    @model_serializer(mode="wrap")
    def _only_what_goes_with_the_pattern(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        """What was written can be read again: fields of other patterns are not there."""
        valid = ("kind", *PATTERN_FIELDS[self.kind])
        return {name: value for name, value in dump(self).items() if name in valid}

    @property
    def technique(self) -> str:
        """The verdict in `Layer.methods` that must allow this pattern."""
        return "n_m" if self.kind == "n_m" else "prune"

    def zeros(self, rows: int, columns: int) -> int:
        """How many weights of a matrix ``[rows, columns]`` become zero."""
        if self.kind == "unstructured":
            return round(self.ratio * rows * columns)
        groups, rest = divmod(columns, self.m)
        return rows * (groups * (self.m - self.n) + max(0, rest - self.n))


class ChannelSettings(Settings):
    """Output channels removed from the layer, and from all layers whose channels are coupled to them."""

    ratio: Ratio = Field(
        title="Removed",
        description="Share of the group's channels that go, in every layer of the group.",
        json_schema_extra={"unit": "%", "scale": 100, "default_start": 0.25},
    )
    importance: Literal["output", "magnitude", "taylor"] = Field(
        default="output",
        title="Importance",
        description="By what the layers behind lose once they have made up for it, by the size of the weights, or by "
        "how the loss on the training data leans on the channels (Taylor; without labels the answers' divergence).",
        json_schema_extra={"labels": {"output": "output", "magnitude": "magnitude", "taylor": "loss (Taylor)"}},
    )
    multiple_of: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        title="Multiple of",
        description="The number of channels that stay is rounded up to a multiple of this.",
        json_schema_extra={"unit": "channels"},
    )


class RankSettings(Settings):
    """The layer replaced by thin factors; exactly one of `rank`, `energy` and `parameters` says how thin.

    Rank and energy refer to the layer's matrix ``[out, in·k·k]``: other forms get as many weights as its two factors.
    """

    rank: Annotated[int, Field(ge=1)] | None = Field(
        default=None, title="Rank", description="Number of singular values that are kept."
    )
    energy: Annotated[float, Field(gt=0.0, le=1.0, strict=False)] | None = Field(
        default=None,
        title="Energy",
        description="Smallest rank whose squared singular values hold this share of the whole.",
        json_schema_extra={"unit": "%", "scale": 100},
    )
    parameters: Annotated[float, Field(gt=0.0, le=1.0, strict=False)] | None = Field(
        default=None,
        title="Parameters",
        description="Share of the layer's weights that the factors may hold.",
        json_schema_extra={"unit": "%", "scale": 100},
    )
    form: Literal["auto", "matrix", "spatial", "tucker"] = Field(
        default="auto",
        title="Form",
        description="How a convolution is split: its matrix, k×1 then 1×k, fewer channels around a small one (Tucker), "
        "or whichever comes nearest with as many weights.",
        json_schema_extra={
            "labels": {"auto": "best", "matrix": "matrix", "spatial": "k×1, 1×k", "tucker": "Tucker"},
        },
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(value is not None for value in (self.rank, self.energy, self.parameters)) != 1:
            raise ValueError("give one of rank, energy and parameters")
        return self


class QuantizeSettings(Settings):
    """Weights stored as 16-bit floats, or as integers with a scale for the tensor, a channel or a group of inputs."""

    weight_bits: Literal[16, 8, 4, 3, 2] = Field(
        default=8,
        title="Weight bits",
        description="Bits a weight is rounded to: 16 are floats, 8 and less integers; 3 and 2 bits are stored in 4.",
        json_schema_extra={"unit": "bit"},
    )
    float_format: FloatFormat = Field(
        default="fp16",
        title="Format",
        description="How 16 bits are used: half precision is finer, bfloat16 has the range of 32-bit floats "
        "(only with 16 bits).",
        json_schema_extra={"labels": {"fp16": "half precision", "bf16": "bfloat16"}},
    )
    granularity: Literal["tensor", "channel", "group"] = Field(
        default="channel",
        title="Scales",
        description="What shares one scale: the tensor, an output channel or a group.",
    )
    group_size: Annotated[int, Field(ge=2, le=1024)] = Field(
        default=32,
        title="Group size",
        description="Neighbouring inputs of one output channel that share a scale (only with groups).",
        json_schema_extra={"unit": "weights"},
    )
    symmetric: bool = Field(
        default=True,
        title="Symmetric",
        description="Zero lies in the middle of the levels; off, each scale has a zero point of its own, which serves "
        "few bits and weights that lie to one side, and keeps the layer from running in integers (not with 16 bits).",
    )
    product: Product = Field(
        default="portable",
        title="Product",
        description="What multiplies by a linear layer's weight: any runtime, or ONNX Runtime's MatMulNBits, exactly "
        "or with the inputs rounded to 8 bits by group, which is fast (only with groups of 16, 32, 64, 128 or 256; "
        "8-bit weights only with rounded inputs).",
        json_schema_extra={
            "labels": {
                "portable": "any runtime",
                "onnxruntime": "ONNX RT, exact",
                "onnxruntime_int8": "ONNX RT, int8 inputs",
            }
        },
    )
    activation_bits: Literal[8] | None = Field(
        default=None,
        title="Activations",
        description="Bits that what the layer reads and gives is rounded to, with ranges learnt from data. Between "
        "layers with symmetric 8-bit weights and no groups runtimes then compute in integers, which is fast.",
        json_schema_extra={"labels": {"None": "float", "8": "8 bit"}},
    )
    activation_range: Literal["minmax", "percentile", "mse", "entropy"] = Field(
        default="mse",
        title="Range",
        description="What the levels span: all values, all but one in ten thousand, the least squared error, or the "
        "least change of the distribution (only with rounded activations).",
        json_schema_extra={
            "labels": {
                "minmax": "smallest to largest",
                "percentile": "99.99 %",
                "mse": "least squares",
                "entropy": "entropy",
            }
        },
    )

    @property
    def technique(self) -> str:
        """The verdict in `Layer.methods` that must allow this."""
        return "activations" if self.activation_bits else "quantize"

    @property
    def grouped(self) -> bool:
        """Whether integers share their scales by group."""
        return self.weight_bits < 16 and self.granularity == "group"

    def product_of(self, shape: Sequence[int]) -> Product:
        """How a weight ``[out, in, *kernel]`` is multiplied by: what `product` comes to where it cannot be had."""
        few = CONTAINER_BITS[self.weight_bits] == 4 or self.product == "onnxruntime_int8"  # 8 bits crawl with floats
        fits = self.grouped and self.group_size in NBITS_GROUPS and len(shape) == 2
        return self.product if few and fits else "portable"


class LayerSettings(Settings):
    """Everything chosen for one layer; None leaves the method out.

    ``prune: {kind: channels, …}`` is read as ``channels: {…}``, so that a layer can lose channels and be sparse.
    """

    channels: ChannelSettings | None = Field(default=None, title="Channels")
    prune: PruneSettings | None = Field(default=None, title="Pruning")
    rank: RankSettings | None = Field(default=None, title="Rank")
    quantize: QuantizeSettings | None = Field(default=None, title="Quantization")
    keep: bool = Field(default=False, title="Keep", description="Leave this layer exactly as it is.")
    locked: bool = Field(
        default=False,
        title="Lock",
        description="A search leaves this layer's settings as they are; by hand they can still be changed.",
    )

    @model_validator(mode="before")
    @classmethod
    def _channels_are_pruned_too(cls, given: Any) -> Any:
        prune = given.get("prune") if isinstance(given, Mapping) else None
        if not isinstance(prune, Mapping) or prune.get("kind") != "channels":
            return given
        if given.get("channels") is not None:
            raise ValueError("give either prune with kind channels, or channels")
        rest = {name: value for name, value in given.items() if name != "prune"}
        return {**rest, "channels": {name: value for name, value in prune.items() if name != "kind"}}

    @property
    def is_empty(self) -> bool:
        """Whether the layer stays as it is."""
        return self.keep or all(chosen is None for chosen in (self.channels, self.prune, self.rank, self.quantize))

    def over(self, base: "LayerSettings") -> "LayerSettings":
        """These settings laid over more general ones: a method named here, even as null, wins over `base`."""
        return base.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})

    def normalised(self) -> "LayerSettings":
        """The same choice in its one canonical form: kept layers carry nothing else, a share of 0 % is no choice.

        A lock makes no difference to what becomes of the layer, and is not there any more (`Recipe.locked`).
        """
        if self.keep:
            return LayerSettings(keep=True)
        prune = self.prune if self.prune is not None and self.prune.ratio > 0 else None
        channels = self.channels if self.channels is not None and self.channels.ratio > 0 else None
        return LayerSettings(channels=channels, prune=prune, rank=self.rank, quantize=self.quantize)


class Options(Settings):
    """How a recipe is carried out, for all layers alike."""

    data_aware: bool = Field(
        default=True,
        title="Fit to data",
        description="Use what the layers' inputs look like, where data is given; off, no data makes a difference.",
    )
    fit: Literal["layer", "sequential"] = Field(
        default="sequential",
        title="Fit",
        description="Each layer alone, or each on what the compressed layers before it give.",
        json_schema_extra={"labels": {"layer": "each layer alone", "sequential": "in sequence"}},
    )
    bias_correction: bool = Field(
        default=True,
        title="Bias correction",
        description="Biases make up for the shift of a layer's mean output (only with Fit to data).",
    )
    norm_recalibration: bool = Field(
        default=False,
        title="Norm recalibration",
        description="Mean and spread of every channel are brought back to the original's, as BatchNorm would with "
        "statistics measured anew (only with Fit to data).",
    )
    calibration_samples: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=512, title="Calibration samples", description="Samples used to learn what inputs look like."
    )
    seed: int = Field(default=0, title="Seed", description="Fixes every random choice.")
