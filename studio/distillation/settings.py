"""How a distillation runs, and what it reports while it does: torch-free values."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from studio.recipe.settings import Settings

Positive = Annotated[float, Field(gt=0.0, strict=False)]


class DistillSettings(Settings):
    """Choices of one distillation run; the metadata makes the editor and the command line's options."""

    beta: Annotated[float, Field(ge=0.0, le=1.0, strict=False)] = Field(
        default=0.9, title="β", description="Weight of the teacher's answers; the rest goes to the labels."
    )
    temperature: Positive = Field(
        default=4.0, title="Temperature T", description="Softens teacher and student before they are compared."
    )
    learning_rate: Positive = Field(
        default=0.003, title="Learning rate", description="Peak rate of the cosine schedule."
    )
    epochs: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=2, title="Epochs", description="Passes over the training data."
    )
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = Field(
        default=128, title="Batch size", description="Samples in one step."
    )
    clip_norm: Positive | None = Field(
        default=1.0, title="Gradient clipping", description="Largest norm of a step's gradient; empty for no limit."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", title="Device", description="Where it is trained; auto takes the accelerator if there is one."
    )
    seed: Annotated[int, Field(ge=0)] = Field(default=0, title="Seed", description="Fixes the order of the samples.")
    checkpoint_seconds: Annotated[float, Field(ge=0.0, strict=False)] = Field(
        default=30.0,
        title="Checkpoint every",
        description="How much work a crash can cost at most.",
        json_schema_extra={"unit": "s"},
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
        low, high: 95 % interval of `value`.
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
        warning: why the run ended early, empty when it did not.
    """

    weights: str
    metric: str
    teacher: float
    before: float
    after: float
    epochs: int
    seconds: float
    warning: str = ""
