"""What layers take in their runtime as a budget: a table of measured times, and which of them stands for a setting."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from studio.evaluation.candidates import WEIGHT_BITS
from studio.recipe.settings import LayerSettings, QuantizeSettings, RankSettings
from studio.search.options import RANK_SHARES

#: Name of the layer as it is.
ORIGINAL = "original"

#: What is timed, by name. Zeros are stored and computed with, so that they save no time.
CHOICES: Mapping[str, LayerSettings] = {
    **{f"{n} bit": LayerSettings(quantize=QuantizeSettings.model_validate({"weight_bits": n})) for n in WEIGHT_BITS},
    **{f"rank {share:g}": LayerSettings(rank=RankSettings(parameters=share)) for share in RANK_SHARES},
}

#: Times are counted in microseconds: small models take less than a millisecond.
_MICRO = 1000.0


@dataclass(frozen=True)
class LayerTimes:
    """A table of times.

    Attributes:
        layers: milliseconds by layer and by name of a choice; `ORIGINAL` is the layer as it is. A layer that the
            runtime does not tell from others is absent, its time in `rest`.
        rest: milliseconds of the original outside its layers.
    """

    layers: Mapping[str, Mapping[str, float]]
    rest: float

    @property
    def original(self) -> float:
        """Microseconds of the whole original."""
        return _MICRO * (self.rest + sum(taken.get(ORIGINAL, 0.0) for taken in self.layers.values()))

    def of_layer(self, name: str, settings: LayerSettings) -> float:
        """Microseconds of one layer; with a setting that was not timed what it takes as it is."""
        taken = self.layers.get(name, {})
        if ORIGINAL not in taken:
            return 0.0
        return _MICRO * taken.get(_standing_for(settings.normalised()), taken[ORIGINAL])

    def of_model(self, settings: Mapping[str, LayerSettings]) -> float:
        """Microseconds of the whole model with the settings of its layers."""
        return _MICRO * self.rest + sum(self.of_layer(name, chosen) for name, chosen in settings.items())


@lru_cache(maxsize=1024)  # the same few settings for every layer
def _standing_for(settings: LayerSettings) -> str:
    """The name of the choice that takes as long, or longer: for a rank between two the next greater one."""
    rank = settings.rank
    if rank is None or rank.parameters is None:
        return next((name for name, choice in CHOICES.items() if choice.normalised() == settings), ORIGINAL)
    greater = min((share for share in RANK_SHARES if share >= rank.parameters), default=None)
    if greater is None or settings.model_copy(update={"rank": None}).normalised() != LayerSettings().normalised():
        return ORIGINAL
    return f"rank {greater:g}"
