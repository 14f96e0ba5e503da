"""How much of each layer's error reaches the model's outputs, learnt once for a model and its data."""

from collections.abc import Callable

from studio.analysis.leverage import Leverage, gather_leverage
from studio.engine.memory import Memory
from studio.engine.requests import Source
from studio.evaluation.batches import Batches
from studio.evaluation.data import Dataset
from studio.files import file_version
from studio.models.model import Model

#: Samples that it is learnt from, and how many of them are held at once.
_SAMPLES, _BATCH = 64, 16


class Leverages:
    """The last ones that were learnt."""

    def __init__(self) -> None:
        self._memory = Memory(2)

    def of(self, source: Source, model: Model, open_data: Callable[[str, Model], Dataset]) -> Leverage | None:
        """What the outputs feel of each channel; None without data to learn it from.

        Args:
            source: the recipe, and the data to learn from.
            model: the original.
            open_data: opens data for a model.
        """
        path = source.calibration
        if path is None or not source.recipe.options.data_aware or "fit" in model.info.lacks:
            return None

        def learn() -> Leverage | None:
            return gather_leverage(model, Batches(open_data(path, model), _SAMPLES, _BATCH))

        return self._memory.get((model.info.fingerprint, file_version(path)), learn)
