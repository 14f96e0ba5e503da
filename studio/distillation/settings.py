"""How a distillation runs, and what it reports while it does: torch-free values."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from studio.recipe.settings import Settings

Positive = Annotated[float, Field(gt=0.0, strict=False)]
NotNegative = Annotated[float, Field(ge=0.0, strict=False)]
Share = Annotated[float, Field(ge=0.0, le=1.0, strict=False)]
Below1 = Annotated[float, Field(ge=0.0, lt=1.0, strict=False)]

#: Marks the fields that only some runs need; the window folds them away.
_MORE: dict[str, Any] = {"more": True}

#: Marks the fields that have a value by the data where nobody gives one (`studio.distillation.suggested`).
_SUGGESTED: dict[str, Any] = {"suggested": "by the number of samples and the recipe"}
_BY_RECIPE: dict[str, Any] = {"suggested": "by the recipe"}


class DistillSettings(Settings):
    """Choices of one distillation run; the metadata makes the editor and the command line's options."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=2, title="Epochs", description="Passes over the training data.", json_schema_extra=_SUGGESTED
    )
    learning_rate: Positive = Field(
        default=0.001,
        title="Learning rate",
        description="Highest rate of the schedule.",
        json_schema_extra={"suggested": "0.001, or 0.0003 where weights are only rounded"},
    )
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = Field(
        default=128, title="Batch size", description="Samples in one step.", json_schema_extra=_SUGGESTED
    )
    beta: Share = Field(
        default=0.9, title="β", description="Weight of the teacher's answers; the rest goes to the labels."
    )
    temperature: Positive = Field(
        default=4.0,
        title="Temperature T",
        description="Softens teacher and student before they are compared.",
        json_schema_extra={"suggested": "4, or 1 for texts"},
    )
    flip: bool = Field(
        default=False,
        title="Mirror images",
        description="Half of the images are mirrored; not for digits and text.",
    )
    crop: Annotated[int, Field(ge=0, le=64)] = Field(
        default=0,
        title="Shift images",
        description="Images are moved by up to this much in either direction, with zeros behind them.",
        json_schema_extra={"unit": "px", "suggested": "an eighth of colour images, 0 for all else"},
    )
    gradual: bool = Field(
        default=False,
        title="Prune gradually",
        description="Unstructured sparsity grows from none while the model learns, the weights missed least first.",
        json_schema_extra={**_MORE, **_BY_RECIPE},
    )
    gradual_share: Annotated[float, Field(gt=0.0, le=1.0, strict=False)] = Field(
        default=0.5,
        title="Pruned by",
        description="Share of the run after which the sparsity is the final one (only when pruning gradually).",
        json_schema_extra={**_MORE, "unit": "%", "scale": 100},
    )
    channel_steps: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1,
        title="Channel steps",
        description="Channels go in so many steps, each trained for its part of the epochs with a schedule of its own "
        "before the next are chosen.",
        json_schema_extra=_MORE,
    )
    learn_steps: bool = Field(
        default=False,
        title="Learn steps",
        description="The distances between the values of rounded weights and activations are trained too (LSQ).",
        json_schema_extra={**_MORE, **_BY_RECIPE},
    )
    renew_ranges: bool = Field(
        default=False,
        title="Renew ranges",
        description="Ranges of rounded activations are measured anew at every epoch (not when steps are learnt).",
        json_schema_extra=_MORE,
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        default="adamw",
        title="Optimizer",
        description="AdamW suits gradients of very different sizes; SGD goes with Nesterov momentum.",
        json_schema_extra={**_MORE, "labels": {"adamw": "AdamW", "sgd": "SGD"}},
    )
    momentum: Below1 = Field(
        default=0.9, title="Momentum", description="Of SGD (only with SGD).", json_schema_extra=_MORE
    )
    weight_decay: NotNegative = Field(
        default=0.0, title="Weight decay", description="Pulls every weight to zero.", json_schema_extra=_MORE
    )
    schedule: Literal["cosine", "one_cycle"] = Field(
        default="cosine",
        title="Schedule",
        description="The rate rises to its peak and falls along a cosine; one cycle rises along a cosine too.",
        json_schema_extra={**_MORE, "labels": {"cosine": "cosine", "one_cycle": "one cycle"}},
    )
    warm_up: Below1 = Field(
        default=0.05,
        title="Warm-up",
        description="Share of the run in which the rate rises; a freshly compressed model has large gradients.",
        json_schema_extra={**_MORE, "unit": "%", "scale": 100},
    )
    clip_norm: Positive | None = Field(
        default=1.0,
        title="Clip norm",
        description="Largest norm of a step's gradient; empty for no limit.",
        json_schema_extra=_MORE,
    )
    clip_value: Positive | None = Field(
        default=None,
        title="Clip value",
        description="Largest entry of a step's gradient, before its norm is clipped; empty for no limit.",
        json_schema_extra={**_MORE, "default_start": 0.1},
    )
    average: Below1 = Field(
        default=0.0,
        title="Average (EMA)",
        description="Share of the running average of the weights that every step keeps; 0 for the weights themselves.",
        json_schema_extra=_MORE,
    )
    patience: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        title="Stop early",
        description="Ends the run after so many epochs without anything better; empty for never.",
        json_schema_extra={**_MORE, "unit": "epochs", "default_start": 3},
    )
    accumulate: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=1,
        title="Parts of a step",
        description="The samples of a step pass in so many parts, which takes less memory and gives the same step.",
        json_schema_extra=_MORE,
    )
    memory_limit: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None,
        title="Memory limit",
        description="The samples of a step pass in as many parts as keep networks, optimizer and a part within it; "
        "program and data are not counted. Empty for no limit.",
        json_schema_extra={**_MORE, "unit": "MB", "default_start": 1000},
    )
    logit_weight: NotNegative = Field(
        default=0.0,
        title="Logit error",
        description="Weight of the squared difference of the scores, added to the teacher's part.",
        json_schema_extra=_MORE,
    )
    feature_weight: NotNegative = Field(
        default=1.0,
        title="Feature weight",
        description="Weight of the features' difference (only with layers named).",
        json_schema_extra=_MORE,
    )
    features: tuple[str, ...] = Field(
        default=(),
        title="Feature layers",
        description="Layers whose outputs are to be like the teacher's; layer=other where it has another name there.",
        json_schema_extra=_MORE,
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto",
        title="Device",
        description="Where it is trained; auto takes the accelerator if there is one.",
        json_schema_extra=_MORE,
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        title="Precision",
        description="Of the arithmetic in training; auto takes bfloat16 where it is faster: on accelerators that have "
        "it, and for convolutions on CPUs with AMX. Accuracy is always measured in float32.",
        json_schema_extra=_MORE,
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        default=0,
        title="Seed",
        description="Fixes the order of the samples and how they are shifted and mirrored.",
        json_schema_extra=_MORE,
    )
    checkpoint_seconds: NotNegative = Field(
        default=30.0,
        title="Checkpoint every",
        description="How much work a crash can cost at most.",
        json_schema_extra={**_MORE, "unit": "s"},
    )


@dataclass(frozen=True)
class TrainingPoint:
    """One point of the live curves.

    Attributes:
        step: optimizer steps done.
        total_steps: steps of the whole run.
        epoch: passes over the data done, fractional.
        loss: mean training loss since the last point.
        learning_rate: rate of the last step.
        value: the metric on the held-out samples, None between two measurements.
        seconds: since training began, pauses left out.
        low, high: 95 % interval of `value`, of its difference from the original where that is measured too.
        parts: that the samples of a step pass in.
    """

    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    value: float | None
    seconds: float
    low: float | None = None
    high: float | None = None
    parts: int = 1

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end, None before the first step."""
        return self.seconds / self.step * (self.total_steps - self.step) if self.step else None


@dataclass(frozen=True)
class DistillOutcome:
    """What a finished distillation gives.

    Attributes:
        weights: path of the best weights (`studio.compression.weights`), named by content hash.
        metric: name of the metric the values are in.
        teacher, before, after: the metric of the original, the compressed model before and with the best weights.
        epochs: passes over the data.
        seconds: wall time.
        device: where it was trained, such as ``cpu``.
        precision: of the arithmetic in training, ``float32`` or ``bfloat16``.
        warning: why the run ended early, empty when it did not.
    """

    weights: str
    metric: str
    teacher: float
    before: float
    after: float
    epochs: int
    seconds: float
    device: str = "cpu"
    precision: str = "float32"
    warning: str = ""
