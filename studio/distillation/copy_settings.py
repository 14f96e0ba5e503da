"""How a smaller copy of a model is made: torch-free values."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from studio.recipe.settings import Settings

Multiplier = Annotated[float, Field(gt=0.0, le=1.0, strict=False)]


class CopySettings(Settings):
    """A narrower or shallower copy of a model, to be trained by the model itself."""

    width: Multiplier = Field(
        default=0.5,
        title="Width",
        description="Share of the channels that every group of coupled layers keeps.",
        json_schema_extra={"unit": "%", "scale": 100},
    )
    depth: Multiplier = Field(
        default=1.0,
        title="Depth",
        description="Share of the blocks that stay where equal blocks that keep the shape follow one another.",
        json_schema_extra={"unit": "%", "scale": 100},
    )
    start: Literal["new", "original"] = Field(
        default="new",
        title="Weights",
        description="The copy begins with random weights (Kaiming), or with those of the channels that stay.",
        json_schema_extra={"labels": {"new": "new", "original": "taken over"}},
    )
    seed: Annotated[int, Field(ge=0)] = Field(default=0, title="Seed", description="Fixes the random weights.")


@dataclass(frozen=True)
class CopySize:
    """How large a copy would be.

    Attributes:
        parameters: weights and biases of all layers.
        macs: multiply-accumulate operations for one sample.
        notes: what cannot be made smaller and why, a line each.
    """

    parameters: int
    macs: int
    notes: tuple[str, ...]
