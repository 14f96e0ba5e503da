"""How long a model takes in its runtime, as a whole and layer by layer: torch-free values that cross the engine's door.

A search asks with `studio.engine.requests.MeasureLatency` for the milliseconds of a recipe (`Latency.now.ms`), and
with `TimeSettings` for a `TimeTable`: what each layer takes under each of several settings, from one run a setting.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field

from studio.recipe.settings import Settings


class LatencySettings(Settings):
    """How to measure: what the model will run with, and how long to look."""

    threads: int = Field(1, ge=1, le=256, description="Threads that ONNX Runtime computes with.")
    batch: int = Field(1, ge=1, le=65536, description="Samples that pass through the model at once.")
    seconds: float = Field(2.0, gt=0, le=600, description="How long each model is run, in seconds.")


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one run of a batch.

    Attributes:
        ms: median over blocks of runs.
        low: lower end of its 95 % interval, which assumes no distribution.
        high: upper end.
        runs: how many were counted, in all blocks together.
    """

    ms: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class Ratio:
    """How many times faster than the original, from blocks of runs that took turns: machines are never quiet."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Latency:
    """A model in ONNX Runtime on this machine's processor, beside the original in the same run.

    Attributes:
        now: of the compressed model.
        original: of the original.
        faster: the one against the other.
        layers: milliseconds of each layer of the compressed model that the runtime still tells apart, by name.
        original_layers: the same of the original.
        rest: milliseconds of all that belongs to no layer: sums, activations, rounding between layers.
        original_rest: the same of the original.
        threads: that the runtime computed with.
        batch: samples at once.
        runtime: its name and version.
        memory: bytes that the runtime holds for the compressed model and one batch, None where it cannot be told.
        original_memory: the same for the original.
    """

    now: Timing
    original: Timing
    faster: Ratio
    threads: int
    batch: int
    runtime: str
    layers: Mapping[str, float] = field(default_factory=dict)
    original_layers: Mapping[str, float] = field(default_factory=dict)
    rest: float = 0.0
    original_rest: float = 0.0
    memory: int | None = None
    original_memory: int | None = None

    def share(self, layer: str) -> float | None:
        """Share of the layers' and the rest's time (0..1), None for a layer that the runtime does not tell."""
        total = self.rest + sum(self.layers.values())
        return self.layers[layer] / total if layer in self.layers and total > 0 else None


@dataclass(frozen=True)
class TimeTable:
    """What layers take under several settings, each measured with all layers that can take it set alike.

    Attributes:
        layers: milliseconds by layer and by the name of a setting; ``original`` is the layer as it is.
        rest: milliseconds outside the layers by setting.
    """

    layers: Mapping[str, Mapping[str, float]]
    rest: Mapping[str, float]
